// Elements are made here and nowhere else. Every text becomes a text node: a class called <script> is a class.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "value") node.value = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

export const byId = (id) => document.getElementById(id);
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children.map((c) => (typeof c === "number" ? String(c) : c)));

export function show(node, visible) {
  node.hidden = !visible;
}

export function options(select, entries, chosen) {
  // entries: [value, text] or {group, entries}
  const make = ([value, text]) => el("option", { value, selected: value === chosen }, text);
  select.replaceChildren(
    ...entries.map((e) => (e.group ? el("optgroup", { label: e.group }, e.entries.map(make)) : make(e)))
  );
  select.value = chosen;
}

export function download(name, data, type) {
  const url = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
