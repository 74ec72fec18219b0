// What was found, as sentences above the charts; a finding can be shown in the chart below it.

import { byId, el, show } from "./dom.js";
import { page, state } from "./state.js";
import { count } from "./text.js";

// choose(finding): shows it in the chart.
export function drawFindings(choose) {
  const answer = state.view === "labels" ? page.answer.labels : page.answer;
  const [first, ...others] = answer.findings;
  const silent = first ? answer.silent : answer.silent.slice(1);
  say("lead", answer.lead);
  say("headline", first?.statement ?? answer.silent[0] ?? "No question compares groups here.");
  byId("headline").classList.toggle("quiet", !first);
  const parts = [others.length ? `${count(others.length)} more that differ or moved` : "", silent.length ? `${count(silent.length)} tested without a finding, or not testable` : ""];
  byId("more-what").textContent = parts.filter(Boolean).join(" · ");
  byId("more-list").replaceChildren(...others.map((f) => stated(f, choose)), ...silent.map((line) => el("li", { class: "silent" }, line)));
  byId("individual").textContent = answer.individual;
  say("next", answer.next ?? "");
  show(byId("next"), Boolean(answer.next));
  show(byId("more"), others.length + silent.length > 0);
}

// A live region speaks when its text changes: the same sentence is not said again.
function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function stated(finding, choose) {
  const shown = state.view === "rates" && finding.question;
  return el("li", {}, finding.statement, shown ? el("button", { type: "button", class: "quiet", "aria-label": `Show in the chart: ${finding.question[1]}`, onclick: () => choose(finding) }, "Show") : null);
}
