// The designs that were asked: undo and redo, what each of them changed, all of them as a report or a file.

import { json } from "./api.js";
import { copy } from "./design.js";
import { byId, download, el } from "./dom.js";
import { attempt, fail } from "./say.js";
import { page, request, state } from "./state.js";
import { plural, short } from "./text.js";

const LONGEST = 200; // steps, as the server reads them

const asks = (design) => JSON.stringify([design.templates, design.classes]);
const here = () => state.trail[state.at];

// Whether the design on the page is one that was typed since the last answer.
export const unasked = () => !here() || asks(here().design) !== asks(state.design);

// After an answer: the design that was asked is the step that the page is at.
export function note(design, answer) {
  const found = { text: said(answer), moved: answer.moved, same: answer.design.sha256 === answer.baseline.sha256, against: answer.baseline.sha256 };
  if (unaskedBy(design)) {
    if (here()) here().next = state.trail.length;
    state.trail.push({ design: copy(design), origin: copy(state.origin), named: state.named, parent: state.at, next: -1, found });
    state.at = state.trail.length - 1;
    if (state.trail.length > LONGEST) shorten();
  } else {
    Object.assign(here(), { design: copy(design), origin: copy(state.origin), named: state.named, found });
  }
  draw();
}

const unaskedBy = (design) => !here() || asks(here().design) !== asks(design);

const said = (answer) => answer.findings[0]?.statement ?? answer.silent[0] ?? answer.lead;

function shorten() {
  state.trail.shift();
  state.at -= 1;
  for (const step of state.trail) {
    step.parent = Math.max(step.parent - 1, -1);
    step.next = Math.max(step.next - 1, -1);
  }
}

// A trail that came with a file: in its order, one after the other.
export function follow(designs) {
  state.trail = designs.map((design, i) => ({ design, origin: copy(designs[0]), named: true, parent: i - 1, next: i + 1 < designs.length ? i + 1 : -1, found: null }));
  state.at = state.trail.findIndex((step) => asks(step.design) === asks(state.design));
}

// What each step found beside the pinned design, where that is another now or nothing was asked yet.
export async function retell() {
  const others = state.trail.filter((step) => step.found?.against !== page.answer.baseline.sha256);
  if (!others.length) return;
  await attempt(async () => {
    const { steps } = await json("trail", { ...request(), trail: others.map((step) => step.design) }, "trail");
    others.forEach((step, i) => {
      step.found = steps[i];
    });
    draw();
  });
}

// go(step): puts the design of a step on the page and asks it.
export function listen(go) {
  const move = (to) => {
    if (!state.trail[to]) return;
    if (to === here()?.parent) state.trail[to].next = state.at;
    state.at = to;
    go(state.trail[to]);
    draw();
  };
  const undo = () => {
    if (here() && unasked()) go(here());
    else move(here()?.parent ?? -1);
  };
  const redo = () => move(here()?.next ?? -1);
  byId("undo").addEventListener("click", undo);
  byId("redo").addEventListener("click", redo);
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || ownUndo(event.target)) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "z" && !event.shiftKey) undo();
    else redo();
  });
  byId("trail").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) move(Number(button.dataset.step));
  });
  const saved = (name, type, more) => attempt(async () => {
    const { file, text } = await json(name, { ...request(), ...more, trail: state.trail.map((step) => step.design) });
    fail("");
    download(file, text, type);
  });
  byId("report").addEventListener("click", () => saved("report", "text/html", {}));
  byId("save-state").addEventListener("click", () => saved("save", "application/yaml", { whole: true }));
}

// A field that is being typed in undoes its own letters.
function ownUndo(field) {
  if (!field.matches?.("input, textarea") || ["checkbox", "radio", "range"].includes(field.type)) return false;
  return field.dataset.design ? unasked() : field.value !== "";
}

export function draw() {
  byId("undo").setAttribute("aria-disabled", String(!here() || (here().parent < 0 && !unasked())));
  byId("redo").setAttribute("aria-disabled", String(!here() || here().next < 0));
  byId("beside").textContent = page.answer ? `each beside ${short(page.answer.baseline.name, 60)} (A)` : "";
  byId("trail").replaceChildren(...state.trail.map((step, i) => {
    const { found } = step;
    return el("li", { class: i === state.at ? "now" : null },
      el("button", { type: "button", class: "step", "data-step": i, "aria-current": i === state.at ? "step" : null }, short(step.design.name, 80)),
      found ? el("span", { class: "hint" }, found.same ? " (A)" : ` ${plural(found.moved, "image")} moved`) : null,
      found ? el("p", { class: "note" }, found.text) : null);
  }));
}
