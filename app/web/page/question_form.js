// What is asked: model, classes and their wording, noise levels, goal; the rest folded away.

import { h, show } from "./dom.js";
import { choice, field, group, select } from "./fields.js";

const LEVELS = [0.1, 0.25, 0.5, 1];
const CHOSEN = [0.1, 0.25, 0.5];
const OWN = "own";
const EFFORTS = /** @type {[string, string][]} */ ([
  ["1000", "quick look, up to 1,000 samples"],
  ["10000", "usual, up to 10,000 samples"],
  ["100000", "thorough, up to 100,000 samples"],
]);
const TUNED = /** @type {[string, string, string][]} */ ([
  ["template", "The model’s sentence", "The classes in the sentence above, with nothing learned."],
  ["zero-shot", "Sentence tuned on this image", "Its certificate covers the tuned prompt, not tuning it again."],
  ["few-shot+zero-shot", "Learned prompt tuned on this image", "Needs a learned prompt. The same limit."],
  ["routed", "Chosen from a bank of prompts", "The choice is certified too. Takes all learned prompts with these classes, and the sentence."],
]);

/**
 * @param {any[]} models @param {any[]} prompts @param {() => void} changed
 * @returns {any} the element, and what it asks for
 */
export function questionForm(models, prompts, changed) {
  const model = select(models.map((m) => [m.id, m.name]));
  model.value = (models.find((m) => m.default) ?? models[0]).id;
  const about = h("p", { class: "hint" });
  const wording = h("select");
  const classes = h("textarea", { rows: 6, spellcheck: "false" });
  const template = h("input", { type: "text", spellcheck: "false" });
  const levels = noiseLevels(changed);
  const goal = goalFields();
  const advanced = advancedFields(template);
  const current = () => models.find((m) => m.id === model.value);
  const chosenPrompt = () => prompts.find((p) => p.id === wording.value && p.model === model.value);
  const standard = () => (chosenPrompt() ?? current()).class_names;
  const showClasses = () => {
    classes.value = standard().join("\n");
    classes.rows = Math.max(3, Math.min(10, standard().length));
  };
  const showModel = () => {
    const own = prompts.filter((p) => p.model === model.value);
    show(wording, option("", "The model’s own classes, in a sentence"), ...own.map((p) => option(p.id, `Learned prompt ${p.id}`)), option(OWN, "Classes of my own, in a sentence"));
    about.textContent = current().intended_use;
    template.value = current().template;
    showClasses();
  };
  model.addEventListener("change", () => {
    showModel();
    changed();
  });
  wording.addEventListener("change", () => {
    showClasses();
    if (wording.value === OWN) classes.focus();
  });
  showModel();
  const namedClasses = () => classes.value.split("\n").map((/** @type {string} */ t) => t.trim()).filter(Boolean);
  return {
    element: h(
      "div",
      {},
      field("Model", "", model),
      about,
      field("What to tell apart", "A learned prompt was trained from a few labelled images, and often withstands more noise.", wording),
      field("Classes", "One a line. The model can only answer with one of these.", classes),
      group("Noise levels σ", h("p", { class: "hint" }, "The model looks at noisy copies. More noise can prove more, but hides more of the image. One certificate for each."), levels.element),
      group("Goal", ...goal.elements),
      advanced.element,
    ),
    get model() {
      return current();
    },
    get sigmas() {
      return levels.values();
    },
    get classNames() {
      return namedClasses();
    },
    lacking: () => levels.lacking() || lackingClasses(namedClasses()) || goal.lacking(),
    fields: () => [
      ["model", model.value],
      ...levels.values().map((/** @type {number} */ s) => ["sigma", String(s)]),
      ...wordingFields({ prompt: chosenPrompt(), named: namedClasses(), standard: standard(), template: template.value.trim(), model: current(), further: advanced.promptings(), prompts }),
      ...goal.fields(),
      ...advanced.fields(),
    ],
  };
}

/** @param {string} value @param {string} words */
function option(value, words) {
  return h("option", { value }, words);
}

/** @param {string[]} names */
function lackingClasses(names) {
  if (names.length < 2) return "Name at least two classes, one a line.";
  return new Set(names).size < names.length ? "Two classes have the same name." : "";
}

/** @param {any} asked @returns {[string, string][]} */
function wordingFields({ prompt, named, standard, template, model, further, prompts }) {
  const promptings = [...new Set([...(prompt ? ["few-shot"] : ["template"]), ...further])];
  const same = JSON.stringify(named) === JSON.stringify(standard);
  const bank = promptings.includes("routed") ? prompts.filter((/** @type {any} */ p) => p.model === model.id && JSON.stringify(p.class_names) === JSON.stringify(named)) : [];
  const ids = [...new Set([...(prompt ? [prompt.id] : []), ...bank.map((/** @type {any} */ p) => p.id)])];
  const sentence = template !== model.template || (promptings.includes("routed") && ids.length < 2);
  return [
    ...promptings.map((p) => /** @type {[string, string]} */ (["prompting", p])),
    ...ids.map((id) => /** @type {[string, string]} */ (["prompt", id])),
    ...(same ? [] : named.map((/** @type {string} */ name) => ["class_name", name])),
    ...(sentence ? [/** @type {[string, string]} */ (["template", template])] : []),
  ];
}

/** @param {() => void} changed */
function noiseLevels(changed) {
  const chips = h("div", { class: "chips" });
  const add = (/** @type {number} */ level, /** @type {boolean} */ checked) =>
    chips.append(h("label", { class: "chip" }, h("input", { type: "checkbox", value: level, checked, change: changed }), String(level)));
  LEVELS.forEach((level) => add(level, CHOSEN.includes(level)));
  const other = h("input", { type: "text", inputmode: "decimal", size: 6, id: "another-level" });
  const trouble = h("p", { class: "problem", role: "alert" });
  const addOther = () => {
    const level = Number(other.value.replace(",", "."));
    const known = [...chips.querySelectorAll("input")].some((i) => Number(i.value) === level);
    trouble.textContent = level >= 0.001 && level <= 10 ? "" : "A noise level lies between 0.001 and 10.";
    if (trouble.textContent || known) return;
    add(level, true);
    other.value = "";
    changed();
  };
  other.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    addOther();
  });
  const values = () => [...chips.querySelectorAll("input:checked")].map((i) => Number(/** @type {HTMLInputElement} */ (i).value)).sort((a, b) => a - b);
  return {
    element: h("div", {}, chips, h("div", { class: "row add" }, h("label", { for: "another-level" }, "Another"), other, h("button", { type: "button", click: addOther }, "Add")), trouble),
    values,
    lacking: () => (values().length ? "" : "Choose at least one noise level."),
  };
}

function goalFields() {
  const effort = select(EFFORTS, { "aria-label": "Effort" });
  effort.value = "10000";
  const target = h("input", { type: "text", inputmode: "decimal", size: 6, value: "0.25", "aria-label": "Radius that matters" });
  const far = choice("radio", "How far does the answer hold?", { name: "goal", checked: true }, "Samples until more would hardly add to the radius.");
  const asked = choice("radio", "Does it hold at least up to this l2 radius?", { name: "goal" }, "Often needs far fewer samples: it stops as soon as that is answered.");
  const isAsked = () => asked.querySelector("input").checked;
  target.addEventListener("focus", () => (asked.querySelector("input").checked = true));
  asked.append(target);
  const radius = () => Number(target.value.replace(",", "."));
  return {
    elements: [far, asked, field("Effort", "", effort)],
    lacking: () => (isAsked() && !(radius() > 0 && radius() <= 1000) ? "The radius that matters is a number above 0." : ""),
    fields: () => [["n_max", effort.value], ...(isAsked() ? [["target_radius", String(radius())]] : [])],
    isAsked,
  };
}

/** @param {HTMLInputElement} template */
function advancedFields(template) {
  const boxes = TUNED.map(([value, words, help]) => choice("checkbox", words, { value }, help));
  const alpha = h("input", { type: "text", inputmode: "decimal", size: 8, value: "0.001" });
  const joint = choice("checkbox", "All certificates hold together", {}, "Divides α among them, so that the best one may be picked afterwards.");
  const attempt = h("input", { type: "number", min: 0, max: 10000, value: 0 });
  return {
    element: h(
      "details",
      { class: "advanced" },
      h("summary", {}, "Advanced"),
      field("Sentence", "{} is the place of the class name.", template),
      group("Compare with further wordings", ...boxes),
      field("Error probability α", "How often a claim may be false, over the service’s own sampling. 0.001: confidence 99.9 %.", alpha),
      joint,
      field("Attempt", "Another number asks for other noise. Every attempt is counted in the certificates.", attempt),
    ),
    promptings: () => boxes.filter((b) => b.querySelector("input").checked).map((b) => b.querySelector("input").value),
    fields: () => [
      ["alpha", alpha.value.replace(",", ".")],
      ...(joint.querySelector("input").checked ? [["joint", "true"]] : []),
      ...(attempt.value !== "0" ? [["attempt", attempt.value]] : []),
    ],
  };
}
