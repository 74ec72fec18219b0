// The page: what is asked, what comes back, and where it is shown.

import { json } from "./api.js";
import { copy, faults, nameOf } from "./design.js";
import { byId, el, show } from "./dom.js";
import { Editor } from "./editor.js";
import * as files from "./files.js";
import { drawFindings } from "./findings.js";
import * as labels from "./labels.js";
import * as moves from "./moves.js";
import { drawChart, drawQuestions, drawRates } from "./rates.js";
import { attempt, done, fail, waiting, whenBack } from "./say.js";
import { keep, keepSoon, page, remember, request, same, state } from "./state.js";
import { count, plural, short } from "./text.js";
import * as trail from "./trail.js";
import * as wordings from "./wordings.js";

let asked = ""; // the request that the last answer is of
let newest = 0; // request: an older one that ends says nothing about waiting

const editor = new Editor(state, { changed: rename, submit: () => refresh() });

// ---- asking

async function refresh() {
  const wrong = faults(state.design);
  if (wrong.size) return fail([...wrong.values()][0]);
  if (JSON.stringify(request()) === asked) return fail("");
  waiting();
  const mine = ++newest;
  const sent = copy(state.design);
  await attempt(async () => {
    const answer = await json(state.view, request(), "answer");
    page.answer = answer;
    if (answer.labels) state.labels = { column: answer.labels.column, sides: answer.labels.sides, threshold: answer.labels.threshold };
    asked = JSON.stringify(request());
    fail("");
    trail.note(sent, answer);
    draw();
    keep();
    moves.drawSample();
    trail.retell();
  });
  if (mine === newest) done();
}

function rename() {
  keepSoon();
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

// What a file holds: a design, and where the page saved it also what was looked at and asked.
function open({ design, explorer }) {
  if (explorer) {
    const { baseline, question, grouping, column, sides, threshold, view } = explorer;
    Object.assign(state, { design: copy(design), baseline, question, grouping, labels: { column, sides, threshold }, view });
    trail.follow(explorer.trail);
    setView();
  }
  return load(design);
}

function go(step) {
  state.design = copy(step.design);
  state.origin = copy(step.origin);
  state.named = step.named;
  editor.keepingFocus(() => editor.render());
  keepSoon();
  refresh();
}

// ---- showing

function draw() {
  const { answer } = page;
  drawFindings(choose);
  editor.showPrompts(answer.design.prompts);
  byId("unset").textContent = answer.design.unset;
  show(byId("unset"), Boolean(answer.design.unset));
  drawShipped();
  byId("pinned").textContent = short(answer.baseline.name, 60);
  show(byId("pin"), !same());
  show(byId("unpin"), state.baseline !== null);
  drawQuestions();
  drawView();
  moves.drawMoves();
  wordings.offer();
  const results = byId("results"); // for those who wait for the answer
  results.dataset.design = answer.design.sha256;
  results.dataset.answer = String(Number(results.dataset.answer ?? 0) + 1);
}

function drawView() {
  if (state.view === "labels") labels.drawLabels();
  else drawRates();
}

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

function choose({ question, grouping }) {
  state.question = question;
  state.grouping = grouping.length ? grouping : null;
  return refresh();
}

function setView() {
  document.querySelector(`input[name=view][value=${state.view}]`).checked = true;
  for (const id of ["view-rates", "view-rates-more"]) show(byId(id), state.view === "rates");
  show(byId("view-labels"), state.view === "labels");
}

function listen() {
  for (const what of ["question", "grouping"]) {
    byId(what).addEventListener("change", () => {
      state[what] = JSON.parse(byId(what).value);
      refresh();
    });
  }
  byId("follow").addEventListener("click", () => {
    byId("question").focus(); // the button goes
    choose({ question: null, grouping: [] });
  });
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
  document.querySelectorAll("input[name=view]").forEach((radio) => radio.addEventListener("change", () => {
    state.view = radio.value;
    setView();
    refresh();
  }));
  labels.listen(refresh);
  moves.listen();
  files.listen(open);
  trail.listen(go);
  wordings.listen(load);
  whenBack(async () => {
    await editor.sendWaiting();
  });
  addEventListener("pagehide", () => page.run && keep());
  let width = 0;
  new ResizeObserver(() => {
    const now = byId("results").clientWidth;
    if (!page.answer || now === width) return;
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
    if (run.kind === "labels") state.view = "labels";
    if (run.state) return open(run.state);
    state.design = copy(run.design);
    state.origin = copy(run.design);
  }
  editor.render();
  setView();
  trail.draw();
  if (state.waiting.length) await editor.sendWaiting();
  else await refresh();
}

listen();
attempt(begin);
