// What is taken along and brought: designs as YAML, tables as CSV, figures as SVG and PNG.

import { blob, Gone, json } from "./api.js";
import { fileOf } from "./design.js";
import { byId, download } from "./dom.js";
import { attempt, fail } from "./say.js";
import { page, request, state } from "./state.js";

const LARGEST = 5 << 20; // bytes of a file that are read; the server says that so much is no design

const slug = (text) => text.replace(/[^A-Za-z0-9_-]/g, "_").slice(0, 60) || "_";

function figure(button, view, format, which) {
  byId(button).addEventListener("click", () => attempt(async () => {
    const name = `${slug(which ?? page.answer.question[1])}_${slug(page.answer.design.name)}.${format}`;
    download(name, await blob("figure", { ...request(), view, format, figure: which }));
  }));
}

async function saved() {
  try {
    const found = await json("save", { design: state.design });
    fail("");
    return found;
  } catch (error) {
    if (!(error instanceof Gone)) throw error;
    return { file: `${slug(state.design.name)}.yaml`, text: fileOf(state.design) };
  }
}

// load({design, explorer}): puts what a file holds on the page.
export function listen(load) {
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
    const { file, text } = await saved();
    download(file, text, "application/yaml");
  }));
  byId("load").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", () => attempt(async () => {
    const [file] = byId("file").files;
    if (!file) return;
    const text = await file.slice(0, LARGEST).text();
    byId("file").value = ""; // so that the same file can be loaded again
    await load(await json("load", { file: file.name, text }));
  }));
}
