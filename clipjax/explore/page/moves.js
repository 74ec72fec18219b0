// Which images got another class: from which to which, and, once switched on, some of the images.

import { json } from "./api.js";
import { byId, el } from "./dom.js";
import { attempt } from "./say.js";
import { page, request, same, state } from "./state.js";
import * as tables from "./tables.js";
import { count, percent, plural, short } from "./text.js";

const FEW = 10;

let all = false;

export function drawMoves() {
  const { answer } = page;
  if (state.move && !answer.moves.some(([a, b]) => a === state.move[0] && b === state.move[1])) state.move = null;
  const choose = byId("images").checked ? (move) => {
    state.move = move;
    drawMoves();
    drawSample();
  } : null;
  const box = [tables.moves(answer, same(), state.move, choose, all ? answer.moves.length : FEW)];
  if (!same() && answer.moves.length > FEW) box.push(el("button", { type: "button", class: "quiet more", onclick: () => {
    all = !all;
    drawMoves();
  } }, all ? "Show fewer" : `Show all ${count(answer.moves.length)} moves`));
  byId("moves").replaceChildren(...box);
}

export function drawSample() {
  const box = byId("sample");
  if (!byId("images").checked) return box.replaceChildren();
  return attempt(async () => {
    const found = await json("sample", { ...request(), move: state.move }, "sample");
    const what = state.move ? ` from ${short(state.move[0], 40)} to ${short(state.move[1], 40)}` : "";
    const line = found.of ? `${count(found.images.length)} of ${plural(found.of, "image")} that moved${what}, drawn at random; the percentage is the new class’s probability.` : "No image moved.";
    box.replaceChildren(el("p", { class: "note" }, line), el("div", { class: "tiles" }, found.images.map(tile)));
  });
}

function tile(p) {
  return el("figure", {},
    el("img", { src: `/images/${p.index}`, alt: p.file, loading: "lazy" }),
    el("figcaption", {}, el("span", { class: "hint" }, short(p.from, 40)), " → ", short(p.to, 40), el("span", { class: "hint" }, ` ${percent(p.probability, 0)}%`)));
}

export function listen() {
  byId("images").addEventListener("change", async () => {
    const on = byId("images").checked;
    const well = await attempt(() => json("images", { on }));
    byId("images").checked = on && well;
    drawMoves();
    drawSample();
  });
}
