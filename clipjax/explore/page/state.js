// What the page is about: the run, the design on the page, the pinned one, what is looked at, and the last answer.

export const state = {
  design: null, // on the page
  origin: null, // what it was made of, for its name
  named: false, // the user has given it a name
  baseline: null, // pinned; null: the run's own
  view: "rates",
  question: null,
  grouping: null,
  labels: { column: null, sides: null, threshold: null },
  move: null, // chosen among the moves: [from, to]
};

export const page = {
  run: null, // what the server said at the start
  told: null, // the last answer
};

export function request() {
  const { design, baseline, question, grouping, view, labels } = state;
  return { design, baseline, question, grouping, view, ...labels };
}

export const same = () => page.told.design.sha256 === page.told.baseline.sha256;

const key = () => `clipjax-explore:${page.run.id}`;

export function keep() {
  try {
    sessionStorage.setItem(key(), JSON.stringify(state));
  } catch {
    // too large, or storage is off: a reload starts from the run's design
  }
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
