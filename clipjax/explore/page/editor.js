// The left side: a design, editable in place. Typing changes the design; Enter, or leaving a field, asks it.

import { Gone, json } from "./api.js";
import { faults, setsOf, words } from "./design.js";
import { byId, el, show } from "./dom.js";
import { attempt, fail } from "./say.js";

const SEPARATOR = " | "; // between several prompts of one class, as between templates on the command line
const MANY = 15; // classes from which a list is searched

export class Editor {
  // changed(): a field of `state.design` is another. submit(): the design is to be asked.
  constructor(state, { changed, submit }) {
    this.state = state;
    this.changed = changed;
    this.submit = submit;
    this.prompts = [];
    byId("design").addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    byId("design").addEventListener("change", (event) => {
      if (event.target.dataset.design) submit();
    });
    byId("add").addEventListener("submit", (event) => {
      event.preventDefault();
      this.add();
    });
    byId("name").dataset.design = "name";
    byId("name").addEventListener("input", () => {
      this.state.design.name = byId("name").value;
      this.state.named = byId("name").value.trim() !== "";
    });
    byId("add-template").addEventListener("click", () => {
      this.state.design.templates.push("a photo of a {}.");
      this.render();
      byId("templates").lastElementChild.querySelector("input").select();
    });
    byId("show-prompts").addEventListener("change", () => this.renderClasses());
    byId("find").addEventListener("input", () => this.find());
    byId("find").addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault(); // nothing is asked
    });
  }

  // The text is read as after NAME+ on the command line: child is in no set, child:person in one.
  async add() {
    const field = byId("new-name");
    if (!field.value.trim()) {
      field.focus();
      return;
    }
    this.state.waiting.push({ text: field.value, sets: words(byId("new-sets").value) });
    field.value = "";
    field.focus({ preventScroll: true });
    await this.sendWaiting();
  }

  // Classes that were typed go to the server one after the other; while none answers, they wait.
  async sendWaiting() {
    const { waiting } = this.state;
    const well = await attempt(async () => {
      while (waiting.length) {
        const { text, sets } = waiting[0];
        try {
          this.state.design.classes.push((await json("add", { design: this.state.design, text, sets })).class);
        } catch (error) {
          if (error instanceof Gone) throw error;
          if (!byId("new-name").value) byId("new-name").value = text; // to be corrected
          waiting.shift();
          throw error;
        }
        waiting.shift();
      }
    });
    this.changed();
    this.render();
    if (!well) return waiting.length ? fail(`${byId("error").textContent} Waiting to be added: ${waiting.map((w) => w.text).join(", ")}.`) : undefined;
    for (const box of [byId("panel"), byId("classes")]) box.scrollTop = box.scrollHeight; // whichever of them scrolls
    this.submit();
  }

  remove(list, index, container) {
    list.splice(index, 1);
    this.changed();
    this.render();
    const rows = byId(container).children;
    const next = rows[Math.min(index, rows.length - 1)];
    (next ? next.querySelector("input") : byId("new-name")).focus();
    this.submit();
  }

  render() {
    const { design } = this.state;
    byId("name").value = design.name;
    byId("note").textContent = design.note;
    show(byId("note"), Boolean(design.note));
    byId("known-sets").replaceChildren(...setsOf(design).map((s) => el("option", { value: s })));
    byId("templates").replaceChildren(...design.templates.map((t, i) => this.template(t, i)));
    this.renderClasses();
  }

  template(text, i) {
    const { design } = this.state;
    const field = el("input", {
      value: text, "aria-label": `Template ${i + 1}`, spellcheck: "false", "data-design": "template",
      oninput: (event) => {
        design.templates[i] = event.target.value;
        this.changed();
      },
    });
    return el("li", {}, field, this.cross(`Remove template ${i + 1}`, () => this.remove(design.templates, i, "templates")));
  }

  cross(label, onclick) {
    return el("button", { type: "button", class: "cross", "aria-label": label, title: label, onclick }, "×");
  }

  renderClasses() {
    const { design } = this.state;
    byId("count").textContent = String(design.classes.length);
    byId("classes").replaceChildren(...design.classes.map((c, i) => this.row(c, i)));
    this.mark();
    show(byId("find-box"), design.classes.length > MANY);
    this.find();
  }

  // Rows that hold the words of the search in a name, set or prompt.
  find() {
    const wanted = byId("find-box").hidden ? "" : byId("find").value.trim().toLowerCase();
    const { classes } = this.state.design;
    let n = 0;
    [...byId("classes").children].forEach((row, i) => {
      const { name, sets, prompts, texts } = classes[i];
      const there = !wanted || [name, ...sets, ...prompts, ...texts].some((text) => text.toLowerCase().includes(wanted));
      show(row, there);
      n += there;
    });
    byId("found").textContent = wanted ? `${n} of ${classes.length}` : "";
  }

  // Work that renders the rows again, with the focus where it was: the same field of the same row.
  keepingFocus(work) {
    const field = document.activeElement;
    const list = field?.closest("#classes, #templates");
    const index = list ? [...list.children].indexOf(field.closest("li")) : -1;
    work();
    if (!list) return;
    const row = list.children[Math.min(index, list.children.length - 1)];
    (row?.querySelector(`.${field.className || "cross"}`) ?? row?.querySelector("input") ?? byId("new-name")).focus({ preventScroll: true });
  }

  row(c, i) {
    const { design } = this.state;
    const field = (label, value, oninput, more = {}) =>
      el("input", { value, "aria-label": label, spellcheck: "false", "data-design": "class", oninput: (event) => {
        oninput(event.target.value);
        this.changed();
        this.mark();
      }, ...more });
    const number = i + 1;
    const name = field(`Class ${number}`, c.name, (value) => {
      c.name = value;
      c.texts = []; // what asked instead of the old name
    }, { class: "class-name" });
    const sets = field(`Sets of class ${number}`, c.sets.join(", "), (value) => {
      c.sets = words(value);
    }, { class: "class-sets", list: "known-sets", placeholder: setsOf(design).length ? "no set" : "" });
    const parts = [name, sets, this.cross(`Remove ${c.name.slice(0, 60) || `class ${number}`}`, () => this.remove(design.classes, i, "classes"))];
    if (c.prompts.length || byId("show-prompts").checked) {
      const prompt = field(`Prompt of class ${number}, asked as it stands`, c.prompts.join(SEPARATOR), (value) => {
        c.prompts = words(value, "|");
      }, { class: "class-prompt", placeholder: this.asked(c, i) });
      parts.push(prompt);
    }
    return el("li", {}, ...parts);
  }

  // What asks for the class while it has no prompt of its own.
  asked(c, i) {
    const [text, n] = this.prompts[i] ?? ["", 0];
    if (!text) return "asked through the templates";
    return n > 1 ? `${text} (and ${n - 1} more)` : text;
  }

  // After an answer: what was asked for each class stands behind its empty prompt.
  showPrompts(prompts) {
    this.prompts = prompts;
    byId("classes").querySelectorAll("li").forEach((row, i) => {
      const field = row.querySelector(".class-prompt");
      if (field) field.placeholder = this.asked(this.state.design.classes[i], i);
    });
  }

  mark() {
    const wrong = faults(this.state.design);
    byId("classes").querySelectorAll(".class-name").forEach((field, i) => {
      if (wrong.has(i)) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
    });
    byId("count").textContent = String(this.state.design.classes.length);
    return wrong;
  }
}
