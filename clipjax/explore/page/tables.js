// Tables, and what moved: the numbers behind the charts.

import { el } from "./dom.js";
import { count, groupName, interval, percent, plural, points, probability, short } from "./text.js";

const rate = (r) => (r ? [el("b", {}, percent(r.value) + (r.small ? "†" : "")), ` ${interval(r)} `, el("span", { class: "kn" }, `${r.k}/${r.n}`)] : ["–"]);

function table(caption, head, rows, note, alone = false) {
  const cells = head.map(([text, kind, title]) => el("th", { scope: "col", class: kind, title }, text));
  return el("div", {},
    el("table", { class: alone ? "alone" : null },
      el("caption", { class: "visually-hidden" }, caption),
      el("thead", {}, el("tr", {}, cells)),
      el("tbody", {}, rows)),
    note ? el("p", { class: "note" }, note) : null);
}

export function ratesTable(view, same) {
  const [kind, name] = view.question;
  const adjusted = view.rows.some((r) => r.paired && "p_benjamini_hochberg" in r.paired);
  const several = view.grouping[0] === "each";
  const head = [[several ? "group" : view.grouping.join(", ") || "group", "text"]];
  if (!same) head.push(["A, %", "num", view.baseline.name]);
  head.push([same ? "%" : "B, %", "num", view.design.name]);
  if (!same) {
    head.push(["B − A, points", "num"], ["A only", "num", "answered so under A only"], ["B only", "num", "answered so under B only"], ["p", "num", "McNemar, exact"]);
    if (adjusted) head.push(["p (BH)", "num", `Benjamini–Hochberg over ${view.tests} tests`]);
  }
  const rows = view.rows.map((row) => {
    const cells = [el("th", { scope: "row", class: "text" }, several ? Object.entries(row.group).flat().join(" ") || "everybody" : groupName(row.group))];
    if (!same) cells.push(el("td", { class: "num" }, rate(row.base)));
    cells.push(el("td", { class: "num" }, rate(row.now)));
    if (!same) {
      const p = row.paired;
      if (p) {
        cells.push(el("td", { class: "num" }, el("b", {}, points(p.difference)), ` [${points(p.low)}, ${points(p.high)}]`),
          el("td", { class: "num" }, count(p.only_a)), el("td", { class: "num" }, count(p.only_b)), el("td", { class: "num" }, probability(p.p)));
        if (adjusted) cells.push(el("td", { class: "num" }, p.testable && "p_benjamini_hochberg" in p ? probability(p.p_benjamini_hochberg) : "–"));
      } else {
        cells.push(el("td", { class: "num", colspan: adjusted ? 5 : 4 }, `A has no such ${kind}`));
      }
    }
    return el("tr", { class: Object.keys(row.group).length ? null : "everybody" }, cells);
  });
  const level = `${Number((100 * view.level).toFixed(2))}%`;
  let note = `Percent of the group’s images [${view.method}, ${level}] k/n.`;
  if (view.rows.some((r) => r.now.small)) note += ` † fewer than ${view.min_n} images: read the interval, not the rate.`;
  if (!same) note += " B − A: Newcombe’s interval for paired data; p: McNemar’s exact test over images that left or joined.";
  if (!same && adjusted) note += ` BH: adjusted over the ${view.tests} tests of all ${kind === "set" ? "sets" : "classes"} and groups that could reject at all, as clipjax compare does; – elsewhere.`;
  return table(`${kind} ${name} by ${view.grouping.join(" and ") || "everybody"}`, head, rows, note, same);
}

// choose(move) is called with [from, to], or null; without it rows are no buttons.
export function moves(view, same, chosen, choose, most) {
  if (same || !view.moved) return el("p", { class: "empty" }, same ? "Nothing has moved yet." : "No image got another class.");
  const largest = view.moves[0][2];
  const shown = view.moves.slice(0, most);
  const rows = shown.map(([from, to, n]) => {
    const bar = el("span", { class: "meter" });
    bar.style.setProperty("--share", String(n / largest));
    const parts = [el("span", { class: "from" }, short(from, 48)), el("span", { class: "arrow", "aria-label": "to" }, "→"), el("span", { class: "to" }, short(to, 48)), bar, el("span", { class: "n" }, count(n))];
    const pressed = chosen !== null && chosen[0] === from && chosen[1] === to;
    if (!choose) return el("li", {}, el("span", { class: "move" }, parts));
    return el("li", {}, el("button", { type: "button", class: "move", "aria-pressed": String(pressed), onclick: () => choose(pressed ? null : [from, to]) }, parts));
  });
  return el("ul", { class: "moves" }, rows);
}

export function labelsTable(labels, most) {
  const { sides, rows, n } = labels;
  const sorted = [...rows].sort((a, b) => (a.images?.p ?? 2) - (b.images?.p ?? 2) || b.sides[0].k + b.sides[1].k - a.sides[0].k - a.sides[1].k);
  const head = [["label", "text"], ...sides.map((s, i) => [`${short(s, 20)}, % of ${count(n[i])}`, "num"]), ["χ² images", "num", "with the label against without, uncorrected"], ["p (BH)", "num", "χ² over images, Fisher's exact test where an expected count is below 5; Benjamini–Hochberg over the labels that could differ at all"], ["χ² tokens", "num", "the label against all other labels of the group, Yates-corrected"], ["Fisher p", "num", "exact, over images"]];
  const beside = Object.keys(labels.beside).length > 0;
  if (beside) head.push(["pinned, k", "num", "counts of both groups under the pinned design"]);
  const cells = sorted.slice(0, most).map((r) => el("tr", {}, el("th", { scope: "row", class: "text" }, r.label),
    r.sides.map((s) => el("td", { class: "num" }, rate(s))),
    el("td", { class: "num" }, r.images ? r.images.value.toFixed(1) : "–"),
    el("td", { class: "num" }, r.images ? probability(r.p_adjusted) : "–"),
    el("td", { class: "num" }, r.tokens ? r.tokens.value.toFixed(1) : "–"),
    el("td", { class: r.fisher && r.fisher.min_expected < 5 ? "num read" : "num" }, r.fisher ? probability(r.fisher.p) : "–"),
    beside ? el("td", { class: "num" }, labels.beside[r.label] ? labels.beside[r.label].join(", ") : "new") : null));
  const few = rows.filter((r) => r.fisher && r.fisher.min_expected < 5).length;
  const note = `Images whose probability for the label reaches the threshold [${labels.method}, ${Number((100 * labels.level).toFixed(2))}%] k/n. ` +
    (few ? `Expected counts below 5 in ${plural(few, "label")}: read Fisher there (marked).` : "");
  return table("Labels by group", head, cells, note);
}
