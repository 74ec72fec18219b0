// One line for what went wrong, and one for what takes long.

import { Gone, Overtaken, Refused, there } from "./api.js";
import { byId, show } from "./dom.js";

const SOON = 150; // milliseconds until the page shows that it waits
const LONG = 1200; // and until it says why
const AGAIN = 1500; // and until it looks again for a server that is gone

let timers = [];
let looking = null;
let back = () => {};

// work(): what is done when a server answers again.
export function whenBack(work) {
  back = work;
}

export function fail(line) {
  const box = byId("error");
  if (box.textContent !== line) box.textContent = line;
  show(box, Boolean(line));
  document.body.classList.toggle("stale", Boolean(line));
}

function look() {
  looking ??= setInterval(async () => {
    const found = await there();
    if (found === "gone" || !looking) return;
    clearInterval(looking);
    looking = null;
    if (found === "open") back();
    else fail("Another clipjax explore answers here. Open the address that it printed; save this design first (Save YAML works without a server).");
  }, AGAIN);
}

export function waiting() {
  done();
  timers = [
    setTimeout(() => document.body.classList.add("busy"), SOON),
    setTimeout(() => {
      byId("waiting").textContent = "Computing. New prompts go through the text encoder, once; the first of them load the model.";
      show(byId("waiting"), true);
    }, LONG),
  ];
}

export function done() {
  timers.forEach(clearTimeout);
  document.body.classList.remove("busy");
  show(byId("waiting"), false);
}

// Does the work; says the server's line where there is one. False where it did not end well.
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof Overtaken) return false;
    if (!(error instanceof Refused)) throw error;
    fail(error.message);
    if (error instanceof Gone) look();
    return false;
  }
}
