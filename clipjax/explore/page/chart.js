// Charts as SVG: a dot and its exact interval per group, and the same words for those who cannot see them.

import { svg } from "./dom.js";
import { count, interval, percent, points, short } from "./text.js";

const pen = document.createElement("canvas").getContext("2d");
const MARGIN = 10; // between a label and its row

// Pixels of a text in the chart's letters.
function widthOf(text, weight = 400) {
  pen.font = `${weight} 13px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

// The text, cut to so many pixels.
function fitted(text, width, weight = 400) {
  if (widthOf(text, weight) <= width) return text;
  let [fits, over] = [0, text.length];
  while (over - fits > 1) {
    const middle = (fits + over) >> 1;
    if (widthOf(`${text.slice(0, middle)}…`, weight) <= width) fits = middle;
    else over = middle;
  }
  return `${text.slice(0, fits)}…`;
}

// Round steps that make at most `most` lines from 0 to `end`.
function ticks(end, most) {
  for (const step of [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5]) {
    if (end / step <= most) {
      return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => i * step);
    }
  }
  return [0, 0.5, 1];
}

function mark(kind, x, y, small) {
  const hollow = small ? " small" : "";
  if (kind === "base") return svg("path", { class: `mark base${hollow}`, d: `M${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}L${x - 5} ${y}Z` });
  return svg("circle", { class: `mark now${hollow}`, cx: x, cy: y, r: 4.75 });
}

function series(kind, record, x, y) {
  const low = x(record.low);
  const high = x(record.high);
  return svg(
    "g",
    {},
    svg("path", { class: `whisker ${kind}`, d: `M${low} ${y}H${high}M${low} ${y - 3}V${y + 3}M${high} ${y - 3}V${y + 3}` }),
    record.value === null ? null : mark(kind, x(record.value), y, record.small)
  );
}

function words(row, label, { names, same }) {
  const parts = [];
  if (!same && row.base) parts.push(`${names.base}: ${percent(row.base.value)}% ${interval(row.base)}, ${row.base.k} of ${row.base.n}`);
  parts.push(`${names.now}: ${percent(row.now.value)}% ${interval(row.now)}, ${row.now.k} of ${row.now.n}`);
  return `${label}. ${parts.join(". ")}`;
}

// Where the axis of such rows ends: charts beside each other share it.
export function largest(rows, both) {
  const most = Math.max(0.01, ...rows.flatMap((r) => [r.now.high, both && r.base ? r.base.high : 0]));
  return Math.min(1, most * 1.03);
}

// panel: {title, rows: [{group, now, base, paired}], label(row)}; about: {names, same, question, end}.
export function dots(width, { title, rows, label }, about) {
  const { same, end } = about;
  const narrow = width < 560;
  const labels = rows.map(label);
  const left = Math.min(Math.max(...labels.map((text, i) => widthOf(text, i ? 400 : 650))) + MARGIN + 4, narrow ? 130 : 230);
  const counts = width < 340 ? 0 : Math.max(...rows.map((r) => widthOf(`${count(r.now.k)}/${count(r.now.n)}`)), 30) + 16;
  const change = same ? 0 : 56;
  const height = same ? 26 : 34;
  const top = title ? 50 : 30;
  const plot = width - left - counts - change;
  const x = (v) => left + (v / end) * (plot - 12) + 1;
  const total = top + rows.length * height + 8;
  const out = svg("svg", { width, height: total, viewBox: `0 0 ${width} ${total}`, role: "img", "aria-label": alternative(title, rows, labels, about) });
  if (title) out.append(svg("text", { class: "panel", x: 0, y: 14 }, fitted(title, width, 600)));
  for (const t of ticks(end, plot / 52)) {
    out.append(svg("path", { class: t === 0 ? "axis" : "grid", d: `M${x(t)} ${top - 6}V${total - 6}` }));
    out.append(svg("text", { class: "tick", x: x(t), y: top - 13, "text-anchor": "middle" }, `${Number((100 * t).toFixed(1))}%`));
  }
  if (counts) out.append(svg("text", { class: "tick", x: width - change - 2, y: top - 13, "text-anchor": "end" }, "k/n"));
  if (change) out.append(svg("text", { class: "tick", x: width - 2, y: top - 13, "text-anchor": "end" }, "B − A"));
  const place = { top, height, left, width, counts, change, x };
  rows.forEach((row, i) => out.append(...drawRow(row, labels[i], top + i * height + height / 2, place, about, i === 0 && rows.length > 1)));
  return out;
}

function drawRow(row, label, y, { height, left, width, counts, change, x }, about, first) {
  const everybody = first && Object.keys(row.group).length === 0;
  const both = !about.same && row.base;
  const g = svg("g", { class: everybody ? "row everybody" : "row" }, svg("title", {}, words(row, label, about)));
  g.append(svg("rect", { class: "band", x: 0, y: y - height / 2, width, height }));
  g.append(svg("text", { class: "label", x: left - MARGIN, y: y + 4.5, "text-anchor": "end" }, fitted(label, left - MARGIN, everybody ? 650 : 400)));
  if (both) g.append(series("base", row.base, x, y - 6.5));
  g.append(series("now", row.now, x, both ? y + 6.5 : y));
  if (counts) g.append(svg("text", { class: "number", x: width - change - 2, y: y + 4.5, "text-anchor": "end" }, `${count(row.now.k)}/${count(row.now.n)}`));
  if (change) {
    const moved = (row.paired?.p_benjamini_hochberg ?? 1) < 0.05;
    g.append(svg("text", { class: moved ? "number moved" : "number still", x: width - 2, y: y + 4.5, "text-anchor": "end" }, row.paired ? points(row.paired.difference) : "new"));
  }
  return everybody ? [g, svg("path", { class: "rule", d: `M0 ${y + height / 2}H${width}` })] : [g];
}

function alternative(title, rows, labels, about) {
  const said = rows.map((r, i) => words(r, labels[i], about));
  return `${title ? `${title}: ` : ""}Share of images answered with ${about.question}. ${said.join(". ")}. The table below has the same numbers.`;
}

// Labels per image by threshold, x in multiples of the uniform probability 1/K, on a logarithmic axis.
export function curve(width, labels) {
  const { grid, curves, sides, classes, threshold, marks, per_image: now } = labels;
  const height = 230;
  const inside = { left: 44, right: 12, top: 34, bottom: 34 };
  const first = grid[0] * classes;
  const last = grid[grid.length - 1] * classes;
  const span = Math.log(last / first);
  const x = (m) => inside.left + (Math.log(m / first) / span) * (width - inside.left - inside.right);
  const most = Math.max(1, ...curves.flat());
  const y = (v) => height - inside.bottom - (v / most) * (height - inside.top - inside.bottom);
  const answer = sides.map((s, i) => `${s} ${(now[i] ?? 0).toFixed(2)}`).join(", ");
  const out = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Labels per image by threshold. At ${percent(threshold, 2)} percent: ${answer}.` });
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((s) => most / s <= 5) ?? 1000;
  for (let v = 0; v <= most; v += step) {
    out.append(svg("path", { class: v ? "grid" : "axis", d: `M${inside.left} ${y(v)}H${width - inside.right}` }));
    out.append(svg("text", { class: "tick", x: inside.left - 8, y: y(v) + 4, "text-anchor": "end" }, v));
  }
  for (const m of [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]) {
    if (m < first || m > last) continue;
    out.append(svg("path", { class: m === 1 ? "uniform" : "grid", d: `M${x(m)} ${inside.top}V${height - inside.bottom}` }));
    out.append(svg("text", { class: "tick", x: x(m), y: height - inside.bottom + 17, "text-anchor": "middle" }, m === 1 ? "1 = uniform" : `${m}×`));
  }
  for (const m of marks) {
    const at = x(m * classes);
    if (m * classes < first || m * classes > last) continue;
    out.append(svg("path", { class: "given", d: `M${at} ${inside.top}V${height - inside.bottom}` }));
    out.append(svg("text", { class: "tick", x: at, y: inside.top - 6, "text-anchor": "middle" }, `${Number((100 * m).toPrecision(3))}%`));
  }
  curves.forEach((values, i) => {
    const d = values.map((v, j) => `${j ? "L" : "M"}${x(grid[j] * classes).toFixed(1)} ${y(v).toFixed(1)}`).join("");
    out.append(svg("path", { class: `line side-${i}`, d }));
  });
  out.append(svg("path", { class: "here", d: `M${x(threshold * classes)} ${inside.top}V${height - inside.bottom}` }));
  sides.forEach((side, i) => {
    out.append(svg("circle", { class: `mark side-${i}`, cx: x(threshold * classes), cy: y(now[i] ?? 0), r: 4.5 }));
    const row = inside.top + 14 + 18 * i;
    const from = width - inside.right - 150;
    out.append(svg("path", { class: `line side-${i}`, d: `M${from} ${row - 4}h22` }));
    out.append(svg("text", { class: "label", x: from + 30, y: row }, `${short(side, 12)}: ${(now[i] ?? 0).toFixed(2)}`));
  });
  out.append(svg("text", { class: "tick", x: inside.left - 8, y: inside.top - 18, "text-anchor": "start" }, "labels per image"));
  return { chart: out, inside };
}

// One panel of Figure 1: labels that set one side apart, bars to both sides.
export function mirrored(width, title, names, rows, sides) {
  const row = 22;
  const left = Math.min(Math.max(...names.map((name) => widthOf(name))) + MARGIN + 4, width * 0.42);
  const top = 44;
  const height = top + names.length * row + 10;
  const most = Math.max(0.01, ...names.flatMap((n) => rows.get(n).sides.map((s) => s.value)));
  const middle = left + (width - left) / 2;
  const half = (width - left) / 2 - 44;
  const out = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${title}. ${names.map((n) => `${n}: ${rows.get(n).sides.map((s, i) => `${sides[i]} ${percent(s.value)}%`).join(", ")}`).join(". ")}` });
  out.append(svg("text", { class: "panel", x: 0, y: 14 }, title));
  sides.forEach((s, i) => {
    out.append(svg("text", { class: "tick", x: middle + (i ? 8 : -8), y: 34, "text-anchor": i ? "start" : "end" }, `${short(s, 14)}, %`));
  });
  names.forEach((name, j) => {
    const y = top + j * row;
    const values = rows.get(name).sides;
    const g = svg("g", { class: "row" }, svg("title", {}, `${name}: ${values.map((s, i) => `${sides[i]} ${percent(s.value)}% ${interval(s)}, ${s.k} of ${s.n}`).join("; ")}`));
    g.append(svg("rect", { class: "band", x: 0, y, width, height: row }));
    g.append(svg("text", { class: "label", x: left - MARGIN, y: y + 15, "text-anchor": "end" }, fitted(name, left - MARGIN)));
    values.forEach((s, i) => {
      const w = (half * s.value) / most;
      g.append(svg("rect", { class: `bar side-${i}`, x: i ? middle : middle - w, y: y + 4, width: w, height: row - 8 }));
      g.append(svg("text", { class: "tick", x: i ? middle + w + 5 : middle - w - 5, y: y + 15, "text-anchor": i ? "start" : "end" }, percent(s.value)));
    });
    out.append(g);
  });
  out.append(svg("path", { class: "axis", d: `M${middle} ${top - 2}V${height - 8}` }));
  return out;
}
