// The view of the likeliest class: chart, table, and what they show.

import * as chart from "./chart.js";
import { byId, el, options, show } from "./dom.js";
import { page, same, state } from "./state.js";
import * as tables from "./tables.js";
import { plural, short } from "./text.js";

const WIDE = 360; // pixels that one of several charts needs
const GAP = 20;
const EACH = ["each"]; // every column by itself

export function drawRates() {
  const { answer } = page;
  const item = (kind, text) => el("span", {}, el("span", { class: `key ${kind}` }), text);
  byId("legend").replaceChildren(...[
    same() ? null : item("base", `A: ${short(answer.baseline.name, 50)}`),
    item("now", same() ? short(answer.design.name, 50) : `B: ${short(answer.design.name, 50)}`),
    answer.rows.some((r) => r.now.small) ? item("small", `fewer than ${answer.min_n} images`) : null,
  ].filter(Boolean));
  drawChart();
  byId("gaps").replaceChildren(...answer.gaps.map((line) => el("li", {}, line)));
  byId("table").replaceChildren(tables.ratesTable(answer, same()));
}

export function drawChart() {
  const { answer } = page;
  const names = { now: answer.design.name, base: answer.baseline.name };
  const panels = panelsOf(answer.rows, answer.grouping);
  drawPanels(byId("chart"), panels, { names, same: same(), question: answer.question[1] });
}

// panels: {title, rows, label(row)}; several are small multiples on one scale.
export function drawPanels(box, panels, about) {
  const width = Math.max(300, Math.floor(box.clientWidth));
  const beside = panels.length > 1 ? Math.max(1, Math.min(panels.length, Math.floor((width + GAP) / (WIDE + GAP)))) : 1;
  const each = Math.floor((width - GAP * (beside - 1)) / beside);
  const end = chart.largest(panels.flatMap((p) => p.rows), !about.same);
  box.classList.toggle("several", panels.length > 1);
  box.style.setProperty("--beside", String(beside));
  box.replaceChildren(...panels.map((panel) => chart.dots(each, panel, { ...about, end })));
}

// One panel, or one for each column, or for each value of the second of two columns.
function panelsOf(rows, grouping) {
  const [everybody, ...groups] = rows;
  const value = (row, i) => Object.values(row.group)[i];
  const all = "everybody";
  if (String(grouping) === String(EACH)) {
    return split(groups, (r) => Object.keys(r.group)[0]).map(([title, mine]) => ({ title, rows: [everybody, ...mine], label: (r) => value(r, 0) ?? all }));
  }
  if (grouping.length === 2) {
    return split(groups, (r) => value(r, 1)).map(([title, mine]) => ({ title: `${grouping[1]} ${title}`, rows: [everybody, ...mine], label: (r) => value(r, 0) ?? all }));
  }
  return [{ title: "", rows, label: (r) => value(r, 0) ?? all }];
}

function split(rows, key) {
  const found = new Map();
  for (const row of rows) {
    if (!found.has(key(row))) found.set(key(row), []);
    found.get(key(row)).push(row);
  }
  return [...found];
}

export function drawQuestions() {
  const { answer, run } = page;
  const sets = Object.entries(answer.design.sets).map(([name, n]) => [JSON.stringify(["set", name]), `${short(name, 40)} (${plural(n, "class", "classes")})`]);
  const classes = answer.design.classes.map((name) => [JSON.stringify(["class", name]), short(name, 40)]);
  const groups = [...(sets.length ? [{ group: "Sets", entries: sets }] : []), { group: "Classes", entries: classes }];
  options(byId("question"), groups, JSON.stringify(answer.question));
  const columns = run.groupings.filter((g) => g.length === 1);
  const groupings = run.groupings.map((g) => [JSON.stringify(g), g.join(" and ") || "nothing (all images)"]);
  if (columns.length > 1) groupings.push([JSON.stringify(EACH), "each column"]);
  const chosen = JSON.stringify(answer.grouping);
  if (!groupings.some(([v]) => v === chosen)) groupings.push([chosen, answer.grouping.join(" and ")]);
  options(byId("grouping"), groupings, chosen);
  show(byId("follow"), state.question !== null || state.grouping !== null);
}
