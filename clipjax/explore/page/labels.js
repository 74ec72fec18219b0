// The threshold view: labels per image, the most gendered labels, every label; and its controls.

import * as chart from "./chart.js";
import { byId, el, options } from "./dom.js";
import { fail } from "./say.js";
import { page, state } from "./state.js";
import * as tables from "./tables.js";
import { count } from "./text.js";

const ROWS = 60; // of the table, until all are asked for
const SIDE_BY_SIDE = 720; // pixels from which both panels fit beside each other
const GAP = 24;

let all = false;

export function drawLabels() {
  const { labels } = page.answer;
  const { columns } = page.run;
  options(byId("column"), Object.entries(columns).filter(([, v]) => v.length > 1).map(([c]) => [c, c]), labels.column);
  labels.sides.forEach((side, i) => options(byId(i ? "side-b" : "side-a"), columns[labels.column].map((v) => [v, v]), side));
  byId("percent").value = String(Number((100 * labels.threshold).toPrecision(3)));
  byId("multiple").textContent = `${Number((labels.threshold * labels.classes).toPrecision(3))} × the uniform 1/${labels.classes}`;
  byId("slider").value = String(position(labels.threshold, labels.grid));
  byId("slider").setAttribute("aria-valuetext", `${byId("percent").value} percent, ${byId("multiple").textContent}`);
  byId("marks").replaceChildren(...labels.marks.map((m) => el("button", {
    type: "button", class: "chip", "aria-pressed": String(m === labels.threshold), "data-threshold": m,
  }, `${Number((100 * m).toPrecision(3))}%`)));
  drawCurve(labels);
  drawPanels(labels);
  drawTable(labels);
}

function drawCurve(labels) {
  const box = byId("curve");
  const { chart: drawn, inside } = chart.curve(Math.max(300, Math.floor(box.clientWidth)), labels);
  box.replaceChildren(drawn);
  // The slider runs along the curve's axis; its thumb is 16 pixels wide.
  byId("slider").style.marginLeft = `${inside.left - 8}px`;
  byId("slider").style.width = `calc(100% - ${inside.left + inside.right - 16}px)`;
}

function drawPanels(labels) {
  const width = byId("gendered").clientWidth;
  const each = Math.floor(width >= SIDE_BY_SIDE ? (width - GAP) / 2 : width);
  const byLabel = new Map(labels.rows.map((r) => [r.label, r]));
  const panels = labels.top.map((names, i) => names.length
    ? chart.mirrored(each, `More often: ${labels.sides[i]}`, names, byLabel, labels.sides)
    : el("p", { class: "empty" }, `At this threshold no label is given more often to ${labels.sides[i]}.`));
  byId("gendered").replaceChildren(...panels.map((p) => el("div", { class: "chart" }, p)));
}

function drawTable(labels) {
  const rows = labels.rows.length;
  const box = [tables.labelsTable(labels, all ? rows : ROWS)];
  if (rows > ROWS) box.push(el("button", { type: "button", class: "quiet more", onclick: () => {
    all = !all;
    drawTable(labels);
  } }, all ? "Show fewer" : `Show all ${count(rows)} labels`));
  byId("labels-table").replaceChildren(...box);
}

// The axis is logarithmic: 0 to 1000 on the slider is the first to the last threshold of the curve.
const position = (p, grid) => Math.round((1000 * Math.log(p / grid[0])) / Math.log(grid[grid.length - 1] / grid[0]));
const probabilityAt = (place, grid) => Number((grid[0] * Math.exp((place / 1000) * Math.log(grid[grid.length - 1] / grid[0]))).toPrecision(3));

export function listen(refresh) {
  const threshold = (p) => {
    state.labels.threshold = p;
    refresh();
  };
  byId("slider").addEventListener("input", () => threshold(probabilityAt(Number(byId("slider").value), page.answer.labels.grid)));
  byId("marks").addEventListener("click", (event) => {
    if (event.target.dataset.threshold) threshold(Number(event.target.dataset.threshold));
  });
  byId("percent").addEventListener("change", () => {
    const p = Number(byId("percent").value.replace(",", ".")) / 100;
    if (p > 0 && p < 1) threshold(p);
    else fail("A threshold lies between 0 and 100%.");
  });
  byId("column").addEventListener("change", () => {
    const column = byId("column").value;
    state.labels = { ...state.labels, column, sides: page.run.columns[column].slice(0, 2) };
    refresh();
  });
  ["side-a", "side-b"].forEach((id, i) => byId(id).addEventListener("change", () => {
    const sides = [byId("side-a").value, byId("side-b").value];
    if (sides[0] === sides[1]) sides[1 - i] = page.answer.labels.sides[i]; // they change places
    state.labels.sides = sides;
    refresh();
  }));
}
