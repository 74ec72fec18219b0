// The design on the page: what the form edits, what is sent, and what it is called.

export const copy = (design) => JSON.parse(JSON.stringify(design));
export const words = (text, separator = ",") => text.split(separator).map((w) => w.trim()).filter(Boolean);

const MOST_NAMED = 3;

const spelled = (c) => [c.name.slice(0, 40), ...c.sets].join(":");

// As `Design.add` and `Design.drop` name what they make: fairface-default+child:person-animal.
export function nameOf(design, origin) {
  const before = new Set(origin.classes.map((c) => c.name));
  const after = new Set(design.classes.map((c) => c.name));
  const added = design.classes.filter((c) => c.name.trim() && !before.has(c.name));
  const dropped = [...before].filter((n) => !after.has(n));
  const edits = [...added.map((c) => `+${spelled(c)}`), ...dropped.map((n) => `-${n.slice(0, 40)}`)];
  if (edits.length > MOST_NAMED) return `${origin.name}, edited`;
  if (edits.length) return origin.name + edits.join("");
  const same = JSON.stringify({ ...design, name: "" }) === JSON.stringify({ ...origin, name: "" });
  return same ? origin.name : `${origin.name}, edited`;
}

// Rows that cannot be asked, before the server says so: index -> what is wrong.
export function faults(design) {
  const found = new Map();
  const seen = new Map();
  design.classes.forEach((c, i) => {
    const name = c.name;
    if (!name.trim()) found.set(i, "A class has no name. Name it or remove it.");
    else if (seen.has(name)) found.set(i, `${name.slice(0, 60)} is there twice. Two equal classes would share its answers.`);
    seen.set(name, i);
  });
  return found;
}

export function setsOf(design) {
  return [...new Set(design.classes.flatMap((c) => c.sets))];
}

// The design as a file that clipjax reads, made here while no server answers: JSON is YAML.
export function fileOf(design) {
  const classes = design.classes.map((c) => ({
    name: c.name, ...(c.prompts.length ? { prompts: c.prompts } : c.texts.length ? { texts: c.texts } : {}),
    ...(c.sets.length ? { sets: c.sets } : {}), ...c.attributes,
  }));
  return JSON.stringify({ name: design.name, ...(design.note ? { note: design.note } : {}), templates: design.templates, classes }, null, 1);
}
