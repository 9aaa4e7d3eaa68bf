// What the image is compared with: classes in a sentence, learned prompts, or several of these.

import { h, show } from "../elements/dom.js";
import { choice, field, group } from "../elements/fields.js";

const OWN = "own";
const TUNED = /** @type {[string, string, string][]} */ ([
  ["template", "The sentence", "The classes in the sentence above, with nothing learned."],
  ["zero-shot", "Sentence tuned on this image", "Its certificate covers the tuned prompt, but not tuning it again."],
  ["few-shot+zero-shot", "Learned prompt tuned on this image", "Needs a learned prompt. The same limit applies."],
  ["routed", "Chosen from a bank of prompts", "The choice is certified too. Takes all learned prompts with these classes, and the sentence."],
]);
const COMPARED = ["template", "few-shot+zero-shot"];
const SENTENCE = ["template", "zero-shot", "routed"];

/** @param {() => any} getModel @param {any[]} prompts */
export function wordingFields(getModel, prompts) {
  const wording = h("select");
  const classes = h("textarea", { rows: 6, spellcheck: "false" });
  const template = h("input", { type: "text", spellcheck: "false" });
  const boxes = TUNED.map(([value, words, help]) => choice("checkbox", words, { value }, help));
  const further = h("div");
  const own = () => prompts.filter((p) => p.model === getModel().id);
  const chosen = () => own().find((p) => p.id === wording.value);
  const standard = () => (chosen() ?? getModel()).class_names;
  const named = () => classes.value.split("\n").map((/** @type {string} */ t) => t.trim()).filter(Boolean);
  const alike = () => own().filter((p) => same(p.class_names, named()));
  const showFurther = () => {
    const before = ticked([further]);
    const others = alike().filter((p) => p.id !== wording.value);
    show(further, ...others.map((p) => choice("checkbox", `Learned prompt ${p.id}`, { value: p.id, checked: before.includes(p.id) })));
  };
  const showChosen = () => {
    classes.value = standard().join("\n");
    classes.rows = Math.max(3, Math.min(10, standard().length));
    template.value = sentenceOf(chosen(), getModel());
    showFurther();
  };
  wording.addEventListener("change", () => {
    showChosen();
    if (wording.value === OWN) classes.focus();
  });
  classes.addEventListener("change", showFurther);
  const promptings = () => {
    const learned = chosen() || ticked([further]).length ? ["few-shot"] : [];
    return [...new Set([...(chosen() ? [] : ["template"]), ...learned, ...ticked(boxes)])];
  };
  const ids = () => {
    const bank = promptings().includes("routed") ? alike().map((p) => p.id) : [];
    return [...new Set([...(chosen() ? [chosen().id] : []), ...ticked([further]), ...bank])];
  };
  return {
    elements: [
      field("What to tell apart", "A learned prompt was trained from a few labelled images, and often withstands more noise.", wording),
      field("Classes", "One per line. The model can only answer with one of these.", classes),
    ],
    advanced: [
      field("Sentence", "{} stands for the class name.", template),
      group("Compare with further wordings", h("p", { class: "hint" }, "Each gets its own certificates, from the same noisy copies."), ...boxes, further),
    ],
    names: named,
    /** Compares a learned prompt, alone and tuned on the image, with a sentence. @param {string} prompt @param {string} sentence */
    choose: (prompt, sentence) => {
      wording.value = prompt;
      showChosen();
      template.value = sentence;
      for (const box of boxes) {
        const input = box.querySelector("input");
        input.checked = COMPARED.includes(input.value);
      }
    },
    isRouted: () => promptings().includes("routed"),
    modelChanged: () => {
      show(wording, option("", "The model’s own classes, in a sentence"), ...own().map((p) => option(p.id, `Learned prompt ${p.id}`)), option(OWN, "Classes of my own, in a sentence"));
      showChosen();
    },
    lacking: () => lackingClasses(named()) || lackingPrompts(promptings(), ids()),
    /** @returns {[string, string][]} */
    fields: () => [
      ...promptings().map((p) => /** @type {[string, string]} */ (["prompting", p])),
      ...ids().map((id) => /** @type {[string, string]} */ (["prompt", id])),
      ...(same(named(), standard()) ? [] : named().map((/** @type {string} */ name) => /** @type {[string, string]} */ (["class_name", name]))),
      ...(promptings().some((p) => SENTENCE.includes(p)) ? [/** @type {[string, string]} */ (["template", template.value.trim()])] : []),
    ],
  };
}

/** The words that a prompt was initialised with, or the model's own sentence.
 * @param {any} prompt @param {any} model */
function sentenceOf(prompt, model) {
  return prompt?.ctx_init ? `${prompt.ctx_init} {}${prompt.suffix}` : model.template;
}

/** @param {string[]} one @param {string[]} other */
function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** @param {HTMLElement[]} within @returns {string[]} */
function ticked(within) {
  return within.flatMap((element) => [...element.querySelectorAll("input:checked")].map((i) => /** @type {HTMLInputElement} */ (i).value));
}

/** @param {string} value @param {string} words */
function option(value, words) {
  return h("option", { value }, words);
}

/** @param {string[]} names */
function lackingClasses(names) {
  if (names.length < 2) return "Name at least two classes, one per line.";
  return new Set(names).size < names.length ? "Two classes have the same name." : "";
}

/** @param {string[]} promptings @param {string[]} ids */
function lackingPrompts(promptings, ids) {
  if (ids.length) return "";
  if (promptings.includes("few-shot+zero-shot")) return "Tuning a learned prompt needs one: choose it under What to tell apart.";
  return promptings.includes("routed") ? "A bank needs a learned prompt with these classes; there is none." : "";
}
