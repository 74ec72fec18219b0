// The page: what is asked, what comes back, and where it is shown.

import { ask, blob, json, Overtaken, Refused } from "./api.js";
import * as chart from "./chart.js";
import { copy, faults, nameOf, setsOf } from "./design.js";
import { byId, download, el, options, show } from "./dom.js";
import { Editor } from "./editor.js";
import * as tables from "./tables.js";
import { count, percent, pIs, plural, points, short } from "./text.js";

const MOVES = 10;
const ROWS = 60;

const state = {
  design: null, // on the page
  origin: null, // what it was made of, for its name
  named: false, // the user has given it a name
  baseline: null, // null: the run's own
  view: "rates",
  question: null,
  grouping: null,
  labels: { column: null, sides: null, threshold: null },
  move: null, // chosen among the moves
};
let run = null;
let told = null; // the last answer
let asked = ""; // what it answered
let allMoves = false;
let allLabels = false;
let slow = 0;

const editor = new Editor(state, { changed: rename, submit: () => refresh() });

// ---- asking

function request() {
  return { design: state.design, baseline: state.baseline, question: state.question, grouping: state.grouping, view: state.view, ...state.labels };
}

async function refresh(force = false) {
  const wrong = faults(state.design);
  if (wrong.size) return fail([...wrong.values()][0]);
  const body = request();
  const key = JSON.stringify(body);
  if (key === asked && !force) return fail("");
  clearTimeout(slow);
  slow = setTimeout(() => document.body.classList.add("busy"), 150);
  try {
    const found = await json(state.view, body, "answer");
    told = found;
    asked = key;
    state.question = found.question;
    state.grouping = found.grouping;
    if (found.labels) state.labels = { column: found.labels.column, sides: found.labels.sides, threshold: found.labels.threshold };
    asked = JSON.stringify(request());
    fail("");
    draw();
    keep();
    if (byId("pictures").checked) sample();
  } catch (error) {
    if (error instanceof Overtaken) return;
    if (!(error instanceof Refused)) throw error;
    fail(error.message);
  }
  clearTimeout(slow);
  document.body.classList.remove("busy");
}

function fail(line) {
  const box = byId("error");
  if (box.textContent !== line) box.textContent = line;
  show(box, Boolean(line));
  document.body.classList.toggle("stale", Boolean(line));
  if (line) {
    clearTimeout(slow);
    document.body.classList.remove("busy");
  }
}

function rename() {
  if (!state.named) {
    state.design.name = nameOf(state.design, state.origin);
    byId("name").value = state.design.name;
  }
}

function load(design) {
  state.design = copy(design);
  state.origin = copy(design);
  state.named = false;
  editor.render();
  byId("new-sets").value = setsOf(design)[0] ?? "";
  return refresh();
}

// ---- showing

const same = () => told.design.sha256 === told.baseline.sha256;

function draw() {
  headline();
  editor.told(told.design.prompts);
  chips();
  byId("pinned").textContent = short(told.baseline.name, 60);
  show(byId("pin"), !same());
  show(byId("unpin"), state.baseline !== null);
  questions();
  if (state.view === "labels") drawLabels();
  else drawRates();
  drawMoves();
  byId("results").dataset.design = told.design.sha256; // for those who wait for it
  byId("results").dataset.answer = String(Number(byId("results").dataset.answer ?? 0) + 1);
}

function headline() {
  const line = byId("headline");
  const detail = byId("detail");
  const first = told.rows[0];
  if (same()) {
    line.textContent = `${percent(first.now.value)}% of ${plural(told.images, "image")} are answered with ${short(told.question[1], 60)}.`;
    detail.textContent = `Under ${short(told.design.name, 60)}, the pinned design. Add, remove or rename a class and see who moves.`;
    return;
  }
  line.textContent = told.moved
    ? `${count(told.moved)} of ${plural(told.images, "image")} ${told.moved === 1 ? "gets" : "get"} another class than under ${short(told.baseline.name, 60)}.`
    : `No image gets another class than under ${short(told.baseline.name, 60)}.`;
  const p = first.paired;
  detail.textContent = p
    ? `${capital(told.question[1])}: ${percent(first.base.value)}% before, ${percent(first.now.value)}% now (${points(p.difference)} points, ${pIs(p.p)}).`
    : `${capital(told.question[1])}: ${percent(first.now.value)}% now; the pinned design has no such ${told.question[0]}.`;
}

const capital = (text) => short(text.slice(0, 1).toUpperCase() + text.slice(1), 60);

function questions() {
  const sets = Object.entries(told.design.sets).map(([name, n]) => [JSON.stringify(["set", name]), `${short(name, 40)} (${plural(n, "class", "classes")})`]);
  const classes = told.design.classes.map((name) => [JSON.stringify(["class", name]), short(name, 40)]);
  const groups = [...(sets.length ? [{ group: "Sets", entries: sets }] : []), { group: "Classes", entries: classes }];
  options(byId("question"), groups, JSON.stringify(told.question));
  const groupings = run.groupings.map((g) => [JSON.stringify(g), g.join(" and ") || "nothing (all images)"]);
  const chosen = JSON.stringify(told.grouping);
  if (!groupings.some(([value]) => value === chosen)) groupings.push([chosen, told.grouping.join(" and ")]);
  options(byId("grouping"), groupings, chosen);
}

function drawRates() {
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

function drawChart() {
  const box = byId("chart");
  const width = Math.max(300, Math.floor(box.clientWidth));
  box.replaceChildren(chart.dots(width, told, same()));
}

function drawLabels() {
  const { labels } = told;
  const values = run.columns[labels.column];
  options(byId("column"), Object.entries(run.columns).filter(([, v]) => v.length > 1).map(([c]) => [c, c]), labels.column);
  labels.sides.forEach((side, i) => options(byId(i ? "side-b" : "side-a"), values.map((v) => [v, v]), side));
  byId("percent").value = String(Number((100 * labels.threshold).toPrecision(3)));
  byId("multiple").textContent = `${Number((labels.threshold * labels.classes).toPrecision(3))} × the uniform 1/${labels.classes}`;
  byId("slider").value = String(position(labels.threshold, labels));
  byId("marks").replaceChildren(...labels.marks.map((m) => el("button", {
    type: "button", class: "chip", "aria-pressed": String(m === labels.threshold), onclick: () => threshold(m),
  }, `${Number((100 * m).toPrecision(3))}%`)));
  drawCurve();
  const byLabel = new Map(labels.rows.map((r) => [r.label, r]));
  const panels = labels.top.map((names, i) => names.length
    ? chart.mirrored(panelWidth(), `More often: ${labels.sides[i]}`, names, byLabel, labels.sides)
    : el("p", { class: "empty" }, `No label is more often ${labels.sides[i]}’s at this threshold.`));
  byId("gendered").replaceChildren(...panels.map((p) => el("div", { class: "chart" }, p)));
  const rows = labels.rows.length;
  const box = [tables.labelsTable(labels, allLabels ? rows : ROWS)];
  if (rows > ROWS) box.push(more(allLabels, `Show all ${count(rows)} labels`, () => {
    allLabels = !allLabels;
    drawLabels();
  }));
  byId("labels-table").replaceChildren(...box);
}

function panelWidth() {
  const width = byId("gendered").clientWidth;
  return Math.floor(width >= 720 ? (width - 24) / 2 : width);
}

function drawCurve() {
  const box = byId("curve");
  const { chart: drawn, inside } = chart.curve(Math.max(300, Math.floor(box.clientWidth)), told.labels);
  box.replaceChildren(drawn);
  byId("slider").style.marginLeft = `${inside.left - 8}px`;
  byId("slider").style.width = `calc(100% - ${inside.left + inside.right - 16}px)`;
}

function drawMoves() {
  const pictures = byId("pictures").checked;
  if (state.move && !told.moves.some(([a, b]) => a === state.move[0] && b === state.move[1])) state.move = null;
  const choose = pictures ? (move) => {
    state.move = move;
    drawMoves();
    sample();
  } : null;
  const box = [tables.moves(told, same(), state.move, choose, allMoves ? told.moves.length : MOVES)];
  if (!same() && told.moves.length > MOVES) box.push(more(allMoves, `Show all ${count(told.moves.length)} moves`, () => {
    allMoves = !allMoves;
    drawMoves();
  }));
  byId("moves").replaceChildren(...box);
}

const more = (all, text, onclick) => el("button", { type: "button", class: "quiet more", onclick }, all ? "Show fewer" : text);

function chips() {
  const make = (text, pressed, onclick) => el("button", { type: "button", class: "chip", "aria-pressed": String(pressed), onclick }, text);
  const is = (name) => state.design.name === name;
  byId("shipped").replaceChildren(
    make(`this run: ${short(run.design.name, 40)}`, is(run.design.name), () => load(run.design)),
    ...run.shipped.filter((name) => name !== run.design.name).map((name) => make(name, is(name), () => start(name)))
  );
}

async function start(name) {
  await attempt(async () => load((await json("shipped", { name })).design));
}

// Says the server's line where there is one.
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof Overtaken) return;
    if (!(error instanceof Refused)) throw error;
    fail(error.message);
  }
}

// ---- pictures

async function sample() {
  const box = byId("sample");
  if (!byId("pictures").checked) return box.replaceChildren();
  await attempt(async () => {
    const found = await json("sample", { ...request(), move: state.move }, "sample");
    const tiles = found.pictures.map((p) => el("figure", {},
      el("img", { src: `/pictures/${p.index}`, alt: p.file, loading: "lazy" }),
      el("figcaption", {}, el("span", { class: "hint" }, short(p.from, 40)), " → ", short(p.to, 40), el("span", { class: "hint" }, ` ${percent(p.probability, 0)}%`))));
    const what = state.move ? `${short(state.move[0], 40)} → ${short(state.move[1], 40)}` : "another class";
    const line = found.of ? `${count(found.pictures.length)} of ${plural(found.of, "image")} that moved (${what}), drawn at random.` : "No image moved.";
    box.replaceChildren(el("p", { class: "note" }, line), el("div", { class: "tiles" }, tiles));
  });
}

byId("pictures").addEventListener("change", async () => {
  const on = byId("pictures").checked;
  await attempt(async () => json("pictures", { on })).catch(() => {});
  if (on && byId("error").textContent) byId("pictures").checked = false;
  drawMoves();
  sample();
});

// ---- taking along

function figure(button, view, format, which) {
  byId(button).addEventListener("click", () => attempt(async () => {
    const name = which ?? told.question[1];
    download(`${slug(name)}_${slug(told.design.name)}.${format}`, await blob("figure", { ...request(), view, format, figure: which }));
  }));
}
const slug = (text) => text.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 60) || "_";
for (const format of ["svg", "png"]) {
  figure(`rates-${format}`, "rates", format);
  figure(`labels-${format}`, "labels", format, "labels");
  figure(`curves-${format}`, "labels", format, "curves");
}
for (const view of ["rates", "labels"]) {
  byId(`${view}-csv`).addEventListener("click", () => attempt(async () => {
    const { file, text } = await json("table", { ...request(), view });
    download(file, text, "text/csv");
  }));
}
byId("save").addEventListener("click", () => attempt(async () => {
  const { file, text } = await json("save", { design: state.design });
  fail("");
  download(file, text, "application/yaml");
}));
byId("load").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", () => attempt(async () => {
  const [file] = byId("file").files;
  if (!file) return;
  const text = await file.slice(0, 5 << 20).text();
  byId("file").value = "";
  const { design } = await json("load", { file: file.name, text });
  await load(design);
  await ask("pictures", { on: byId("pictures").checked });
}));

// ---- choosing

byId("question").addEventListener("change", () => {
  state.question = JSON.parse(byId("question").value);
  refresh();
});
byId("grouping").addEventListener("change", () => {
  state.grouping = JSON.parse(byId("grouping").value);
  refresh();
});
byId("pin").addEventListener("click", () => {
  state.baseline = copy(state.design);
  byId("pin").blur();
  refresh();
});
byId("unpin").addEventListener("click", () => {
  state.baseline = null;
  refresh();
});
document.querySelectorAll("input[name=view]").forEach((radio) => radio.addEventListener("change", () => choose(radio.value)));

function choose(view) {
  state.view = view;
  document.querySelector(`input[name=view][value=${view}]`).checked = true;
  show(byId("view-rates"), view === "rates");
  show(byId("view-labels"), view === "labels");
  return refresh();
}

byId("column").addEventListener("change", () => {
  state.labels = { ...state.labels, column: byId("column").value, sides: run.columns[byId("column").value].slice(0, 2) };
  refresh();
});
for (const id of ["side-a", "side-b"]) {
  byId(id).addEventListener("change", () => {
    const sides = [byId("side-a").value, byId("side-b").value];
    if (sides[0] === sides[1]) sides[id === "side-a" ? 1 : 0] = told.labels.sides[id === "side-a" ? 0 : 1]; // they change places
    state.labels.sides = sides;
    refresh();
  });
}

// The slider runs along the curve's axis, which is logarithmic.
function position(p, { grid }) {
  return Math.round((1000 * Math.log(p / grid[0])) / Math.log(grid[grid.length - 1] / grid[0]));
}

function threshold(p) {
  state.labels.threshold = p;
  refresh();
}

byId("slider").addEventListener("input", () => {
  const { grid } = told.labels;
  const p = grid[0] * Math.exp((Number(byId("slider").value) / 1000) * Math.log(grid[grid.length - 1] / grid[0]));
  threshold(Number(p.toPrecision(3)));
});
byId("percent").addEventListener("change", () => {
  const p = Number(byId("percent").value.replace(",", ".")) / 100;
  if (p > 0 && p < 1) threshold(p);
  else fail("A threshold lies between 0 and 100%.");
});

let width = 0;
new ResizeObserver(() => {
  const now = byId("results").clientWidth;
  if (!told || now === width) return;
  width = now;
  if (state.view === "labels") drawLabels();
  else drawChart();
}).observe(byId("results"));

// ---- beginning, and beginning again

const memory = () => `clipjax-explore:${run.id}`;

function keep() {
  try {
    sessionStorage.setItem(memory(), JSON.stringify(state));
  } catch {
    // too large, or storage is off: a reload starts from the run's design
  }
}

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(memory()));
  } catch {
    return null;
  }
}

async function begin() {
  run = await json("start", {});
  byId("designs").open = innerWidth > 900;
  const parts = [run.model, run.data, plural(run.images, "image"), run.skipped ? `${run.skipped} unreadable` : null, run.precision === "float32" ? null : run.precision];
  byId("run").textContent = parts.filter(Boolean).join("  ·  ");
  byId("about").textContent = `${run.run}  ·  clipjax ${run.version}  ·  this page talks to your machine only`;
  document.title = `${run.design.name} – clipjax explore`;
  byId("caveats").replaceChildren(...run.caveats.map((c) => el("li", {}, c)));
  if (run.differ) {
    byId("warning").textContent = `${plural(run.differ, "answer")} of ${count(run.images)} differ from the run’s own file: it was made on another device or with other versions (${run.device.kind ?? "unknown"}). Compare designs on this page, not with the file.`;
    show(byId("warning"), true);
  }
  const before = remembered();
  if (before?.design) {
    Object.assign(state, before);
    byId("new-sets").value = setsOf(state.design)[0] ?? "";
    editor.render();
    return choose(state.view);
  }
  if (run.kind === "labels") {
    state.view = "labels";
  }
  state.design = copy(run.design);
  state.origin = copy(run.design);
  byId("new-sets").value = setsOf(run.design)[0] ?? "";
  editor.render();
  return choose(state.view);
}

attempt(begin);
