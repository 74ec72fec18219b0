// The page: what is asked, what comes back, and where it is shown.

import { json, Overtaken, Refused } from "./api.js";
import { copy, faults, nameOf } from "./design.js";
import { byId, el, show } from "./dom.js";
import { Editor } from "./editor.js";
import * as files from "./files.js";
import * as labels from "./labels.js";
import * as moves from "./moves.js";
import { drawChart, drawQuestions, drawRates } from "./rates.js";
import { attempt, done, fail, waiting } from "./say.js";
import { keep, page, remember, request, same, state } from "./state.js";
import { count, percent, pIs, plural, points, short } from "./text.js";

let asked = ""; // the request that the last answer is of

const editor = new Editor(state, { changed: rename, submit: () => refresh() });

// ---- asking

async function refresh() {
  const wrong = faults(state.design);
  if (wrong.size) return fail([...wrong.values()][0]);
  if (JSON.stringify(request()) === asked) return fail("");
  waiting();
  try {
    const told = await json(state.view, request(), "answer");
    page.told = told;
    state.question = told.question;
    state.grouping = told.grouping;
    if (told.labels) state.labels = { column: told.labels.column, sides: told.labels.sides, threshold: told.labels.threshold };
    asked = JSON.stringify(request());
    fail("");
    draw();
    keep();
    moves.drawSample();
  } catch (error) {
    if (error instanceof Overtaken) return;
    if (!(error instanceof Refused)) throw error;
    fail(error.message);
  }
  done();
}

function rename() {
  if (state.named) return;
  state.design.name = nameOf(state.design, state.origin);
  byId("name").value = state.design.name;
}

function load(design) {
  state.design = copy(design);
  state.origin = copy(design);
  state.named = false;
  editor.render();
  return refresh();
}

// ---- showing

function draw() {
  const { told } = page;
  drawHeadline(told);
  editor.told(told.design.prompts);
  byId("unset").textContent = told.design.unset;
  show(byId("unset"), Boolean(told.design.unset));
  drawShipped();
  byId("pinned").textContent = short(told.baseline.name, 60);
  show(byId("pin"), !same());
  show(byId("unpin"), state.baseline !== null);
  drawQuestions();
  drawView();
  moves.drawMoves();
  const results = byId("results"); // told to those who wait for it
  results.dataset.design = told.design.sha256;
  results.dataset.answer = String(Number(results.dataset.answer ?? 0) + 1);
}

function drawView() {
  if (state.view === "labels") labels.drawLabels();
  else drawRates();
}

function drawHeadline(told) {
  const { now, base, paired } = told.rows[0];
  const name = short(told.question[1], 60);
  const before = short(told.baseline.name, 60);
  let line;
  let detail;
  if (told.labels) {
    const { sides, per_image: mean, threshold, rows } = told.labels;
    const differ = rows.filter((r) => r.images && r.p_adjusted < 0.05).length;
    line = `At ${Number((100 * threshold).toPrecision(3))}%: ${sides.map((s, i) => `${(mean[i] ?? 0).toFixed(2)}${i ? "" : " labels per image"} (${short(s, 30)})`).join(", ")}.`;
    detail = `${count(differ)} of ${plural(rows.length, "label")} ${differ === 1 ? "differs" : "differ"} more than chance would (over images, χ², Fisher's exact test where an expected count is below 5; p\u00a0<\u00a00.05 after Benjamini–Hochberg).`;
  } else if (same()) {
    line = `${percent(now.value)}% of ${plural(told.images, "image")} are answered with ${name}.`;
    detail = `Under ${short(told.design.name, 60)}, the pinned design. Add, remove or rename a class and see who moves.`;
  } else {
    line = told.moved
      ? `${count(told.moved)} of ${plural(told.images, "image")} ${told.moved === 1 ? "gets" : "get"} another class than under ${before}.`
      : `No image gets another class than under ${before}.`;
    detail = paired
      ? `${capital(name)}: ${percent(base.value)}% before, ${percent(now.value)}% now (${points(paired.difference)} points, ${pIs(paired.p)}).`
      : `${capital(name)}: ${percent(now.value)}% now; the pinned design has no such ${told.question[0]}.`;
  }
  byId("headline").textContent = line;
  byId("detail").textContent = detail;
}

const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

function drawShipped() {
  const { run } = page;
  const chip = (text, name, onclick) => el("button", { type: "button", class: "chip", "aria-pressed": String(state.design.name === name), onclick }, text);
  const shipped = async (name) => load((await json("shipped", { name })).design);
  byId("shipped").replaceChildren(
    chip(`this run: ${short(run.design.name, 40)}`, run.design.name, () => load(run.design)),
    ...run.shipped.filter((name) => name !== run.design.name).map((name) => chip(name, name, () => attempt(() => shipped(name))))
  );
}

// ---- choosing

function choose(view) {
  state.view = view;
  document.querySelector(`input[name=view][value=${view}]`).checked = true;
  show(byId("view-rates"), view === "rates");
  show(byId("view-labels"), view === "labels");
  return refresh();
}

function listen() {
  for (const what of ["question", "grouping"]) {
    byId(what).addEventListener("change", () => {
      state[what] = JSON.parse(byId(what).value);
      refresh();
    });
  }
  byId("pin").addEventListener("click", () => {
    state.baseline = copy(state.design);
    byId("results").focus(); // the button goes
    refresh();
  });
  byId("unpin").addEventListener("click", () => {
    state.baseline = null;
    byId("results").focus();
    refresh();
  });
  document.querySelectorAll("input[name=view]").forEach((radio) => radio.addEventListener("change", () => choose(radio.value)));
  labels.listen(refresh);
  moves.listen();
  files.listen(load);
  let width = 0;
  new ResizeObserver(() => {
    const now = byId("results").clientWidth;
    if (!page.told || now === width) return;
    width = now;
    if (state.view === "labels") labels.drawLabels();
    else drawChart();
  }).observe(byId("results"));
}

// ---- beginning, and beginning again after a reload

async function begin() {
  const run = await json("start");
  page.run = run;
  byId("designs").open = innerWidth > 900;
  const parts = [run.model, run.data, plural(run.images, "image"), run.skipped ? `${run.skipped} unreadable` : "", run.precision === "float32" ? "" : run.precision];
  byId("run").textContent = parts.filter(Boolean).join("  ·  ");
  byId("about").textContent = `${run.run}  ·  clipjax ${run.version}  ·  this page talks to your machine only`;
  document.title = `${run.design.name} – clipjax explore`;
  byId("caveats").replaceChildren(...run.caveats.map((c) => el("li", {}, c)));
  if (run.differ) {
    byId("warning").textContent = `${plural(run.differ, "answer")} of ${count(run.images)} differ from the run’s own file: it was made on another device or with other versions (${run.device.kind ?? "unknown"}). Compare designs on this page, not with the file.`;
    show(byId("warning"), true);
  }
  if (!remember()) {
    state.design = copy(run.design);
    state.origin = copy(run.design);
    if (run.kind === "labels") state.view = "labels";
  }
  editor.render();
  await choose(state.view);
}

listen();
attempt(begin);
