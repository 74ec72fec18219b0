// Questions to the server. Of one lane only the newest matters: an older one is given up here, and dropped there.

export class Refused extends Error {} // the server's one line
export class Gone extends Refused {} // no server answers
export class Overtaken extends Error {}

const page = Array.from({ length: 16 }, () => Math.floor(Math.random() * 16).toString(16)).join("");
const lanes = new Map();
let turn = 0;

async function post(name, body, signal) {
  try {
    return await fetch(`/api/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw new Overtaken();
    throw new Gone("The explorer does not answer. What you type is kept in this window, and asked when clipjax explore runs again.");
  }
}

async function answer(response) {
  if (response.status === 409) throw new Overtaken();
  if (response.ok) return response;
  const text = await response.text();
  let line = text;
  try {
    line = JSON.parse(text).error;
  } catch {
    // a plain line of the guard
  }
  throw new Refused(line || `The explorer answered ${response.status}.`);
}

async function ask(name, body = {}, lane = null) {
  let signal;
  const sent = { ...body };
  if (lane) {
    lanes.get(lane)?.abort();
    const control = new AbortController();
    lanes.set(lane, control);
    signal = control.signal;
    sent.page = `${page}-${lane}`;
    sent.turn = ++turn;
  }
  return answer(await post(name, sent, signal));
}

export const json = async (name, body, lane) => (await ask(name, body, lane)).json();
export const blob = async (name, body) => (await ask(name, body)).blob();

// Whether a server answers at this address, and lets this page in.
export async function there() {
  try {
    const { status } = await fetch("/page/icon.svg", { method: "HEAD" });
    return status < 400 ? "open" : "closed";
  } catch {
    return "gone";
  }
}
