// One line for what went wrong, and one for what takes long.

import { Overtaken, Refused } from "./api.js";
import { byId, show } from "./dom.js";

const SOON = 150; // milliseconds until the page shows that it waits
const LONG = 1200; // and until it says why

let timers = [];

export function fail(line) {
  const box = byId("error");
  if (box.textContent !== line) box.textContent = line;
  show(box, Boolean(line));
  document.body.classList.toggle("stale", Boolean(line));
}

export function waiting() {
  done();
  timers = [
    setTimeout(() => document.body.classList.add("busy"), SOON),
    setTimeout(() => {
      byId("waiting").textContent = "Asking. New prompts go through the text encoder, once; the first of them load the model.";
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
    return false;
  }
}
