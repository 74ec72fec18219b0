// The view of the likeliest class: chart, groups that moved, table.

import * as chart from "./chart.js";
import { byId, el, options } from "./dom.js";
import { page, same } from "./state.js";
import * as tables from "./tables.js";
import { plural, short } from "./text.js";

export function drawRates() {
  const { told } = page;
  const item = (kind, text) => el("span", {}, el("span", { class: `key ${kind}` }), text);
  byId("legend").replaceChildren(...[
    same() ? null : item("base", `${short(told.baseline.name, 50)} (pinned)`),
    item("now", short(told.design.name, 50)),
    told.rows.some((r) => r.now.small) ? item("small", `fewer than ${told.min_n} images`) : null,
  ].filter(Boolean));
  drawChart();
  byId("groups-what").textContent = same() ? "" : `share answered with ${short(told.question[1], 40)}, in points`;
  byId("groups").replaceChildren(tables.groupsMoved(told, same()));
  byId("table").replaceChildren(tables.ratesTable(told, same()));
}

export function drawChart() {
  const box = byId("chart");
  box.replaceChildren(chart.dots(Math.max(300, Math.floor(box.clientWidth)), page.told, same()));
}

export function drawQuestions() {
  const { told, run } = page;
  const sets = Object.entries(told.design.sets).map(([name, n]) => [JSON.stringify(["set", name]), `${short(name, 40)} (${plural(n, "class", "classes")})`]);
  const classes = told.design.classes.map((name) => [JSON.stringify(["class", name]), short(name, 40)]);
  const groups = [...(sets.length ? [{ group: "Sets", entries: sets }] : []), { group: "Classes", entries: classes }];
  options(byId("question"), groups, JSON.stringify(told.question));
  const groupings = run.groupings.map((g) => [JSON.stringify(g), g.join(" and ") || "nothing (all images)"]);
  const chosen = JSON.stringify(told.grouping);
  if (!groupings.some(([value]) => value === chosen)) groupings.push([chosen, told.grouping.join(" and ")]);
  options(byId("grouping"), groupings, chosen);
}
