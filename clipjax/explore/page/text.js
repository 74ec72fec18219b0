// Numbers as the reports write them.

export const percent = (x, digits = 1) => (x === null || x === undefined ? "" : (100 * x).toFixed(digits));

export function points(x) {
  if (x === null || x === undefined) return "";
  const text = Math.abs(100 * x).toFixed(1);
  if (text === "0.0") return "0.0";
  return (x < 0 ? "−" : "+") + text;
}

export function probability(p) {
  if (p === null || p === undefined) return "";
  if (p < 0.0001) return "<0.0001";
  return p < 0.995 ? String(Number(p.toPrecision(2))) : "1";
}

export const interval = (r) => `[${percent(r.low)}, ${percent(r.high)}]`;
export const count = (n) => n.toLocaleString("en");
export const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
export const groupName = (group) => Object.values(group).join(", ") || "everybody";
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
