// What the page is about: the run, the design on the page, the pinned one, what is looked at, and the last answer.

export const state = {
  design: null, // on the page
  origin: null, // what it was made of, for its name
  named: false, // the user has given it a name
  baseline: null, // pinned; null: the run's own
  view: "rates",
  question: null, // chosen by the user; null: what the first finding is about
  grouping: null, // the same
  labels: { column: null, sides: null, threshold: null },
  move: null, // chosen among the moves: [from, to]
  trail: [], // designs that were asked: {design, origin, named, parent, next, found}
  at: -1, // where the page is on the trail
  waiting: [], // classes typed while no server answered: {text, sets}
};

export const page = {
  run: null, // what the server said at the start
  answer: null, // the last answer
};

export function request() {
  const { design, baseline, question, grouping, view, labels } = state;
  return { design, baseline, question, grouping, view, ...labels };
}

export const same = () => page.answer.design.sha256 === page.answer.baseline.sha256;

const LAST = 20; // steps that are kept where all are too many for the browser
const SOON = 300; // milliseconds after the last key
const key = () => `clipjax-explorer:${page.run.id}`;
let timer;

export function keep() {
  clearTimeout(timer);
  for (const trail of [state.trail, state.trail.slice(-LAST).map((step) => ({ ...step, parent: -1, next: -1 })), []]) {
    try {
      const at = trail.length === state.trail.length ? state.at : trail.length - 1;
      sessionStorage.setItem(key(), JSON.stringify({ ...state, trail, at }));
      return;
    } catch {
      // too large, or storage is off: a reload starts from less
    }
  }
}

export function keepSoon() {
  clearTimeout(timer);
  timer = setTimeout(keep, SOON);
}

export function remember() {
  try {
    const before = JSON.parse(sessionStorage.getItem(key()));
    if (!before?.design) return false;
    Object.assign(state, before);
    return true;
  } catch {
    return false;
  }
}
