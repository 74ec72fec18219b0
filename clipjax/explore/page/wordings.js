// The same design in other words: each template alone, or other texts for one class, beside each other.

import { json } from "./api.js";
import { byId, el, options } from "./dom.js";
import { drawPanels } from "./rates.js";
import { attempt, done, fail, waiting } from "./say.js";
import { page, request, state } from "./state.js";
import { groupName, plural, short } from "./text.js";

const TEMPLATES = ""; // instead of a class

let answer = null;

function given() {
  const of = byId("wordings-of").value;
  if (of === TEMPLATES) return state.design.templates;
  const c = state.design.classes.find((one) => one.name === of);
  return c?.texts.length ? c.texts : [of];
}

// After an answer: the classes that can be worded; the lines stay while what is worded stays.
export function offer() {
  const before = byId("wordings-of").value;
  const names = state.design.classes.map((c) => c.name);
  options(byId("wordings-of"), [[TEMPLATES, "the templates"], ...names.map((n) => [n, short(n, 40)])], names.includes(before) ? before : TEMPLATES);
  if (!byId("wordings-text").value) fill();
  if (answer) draw();
}

function fill() {
  byId("wordings-text").value = given().join("\n");
}

// use(design): puts a wording on the page.
export function listen(use) {
  byId("wordings-of").addEventListener("change", fill);
  byId("wordings-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const of = byId("wordings-of").value;
    const { question, grouping } = page.answer;
    const body = { ...request(), of, wordings: byId("wordings-text").value.split("\n"), question: of === TEMPLATES ? question : ["class", of], grouping };
    waiting();
    attempt(async () => {
      answer = { ...await json("wordings", body, "wordings"), use };
      fail("");
      draw();
    }).finally(done);
  });
}

function draw() {
  const { wordings, question, grouping, name, use } = answer;
  const lines = wordings.map((w) => el("li", {},
    el("b", {}, w.wording), ": ", w.moved ? `${plural(w.moved, "image")} got another class. ${w.found || "No difference is stated."}` : "no image got another class.",
    el("button", { type: "button", class: "quiet", "aria-label": `Put this wording into the design: ${w.wording}`, onclick: () => use(w.design) }, "Use")));
  const box = el("div", { class: "chart" });
  byId("wordings").replaceChildren(
    el("p", { class: "note" }, `A is ${short(name, 80)}, B the wording. Adjusted p-values allow for the tests of one wording, not for several wordings that are tried.`),
    el("ul", { class: "findings" }, lines),
    el("p", { class: "note" }, `Share answered with ${question[1]}${grouping.length ? `, by ${grouping.join(" and ")}` : ""}: a chart for each group, a row for each wording.`),
    box);
  const panels = wordings[0].rows.map((row, i) => ({
    title: grouping[0] === "each" ? Object.entries(row.group).flat().join(" ") || "everybody" : groupName(row.group),
    rows: wordings.map((w) => ({ ...w.rows[i], group: { wording: w.wording }, base: null })),
    label: (r) => r.group.wording,
  }));
  drawPanels(box, panels, { names: { now: "rate", base: "" }, same: true, question: question[1] });
}
