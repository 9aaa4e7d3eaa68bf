// What the image is compared with: classes in a sentence, learned prompts, or several of these.

import { h, show } from "../elements/dom.js";
import { choice, field, group } from "../elements/fields.js";
import { say } from "../strings/say.js";

const OWN = "own";
const TUNED = /** @type {[string, string, string][]} */ ([
  ["template", say("wording.template"), say("wording.template_hint")],
  ["zero-shot", say("wording.zero_shot"), say("wording.zero_shot_hint")],
  ["few-shot+zero-shot", say("wording.tuned"), say("wording.tuned_hint")],
  ["routed", say("wording.routed"), say("wording.routed_hint")],
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
    show(further, ...others.map((p) => choice("checkbox", say("wording.prompt", { id: p.id }), { value: p.id, checked: before.includes(p.id) })));
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
      field(say("wording.title"), say("wording.title_hint"), wording),
      field(say("wording.classes"), say("wording.classes_hint"), classes),
    ],
    advanced: [
      field(say("wording.sentence"), say("wording.sentence_hint"), template),
      group(say("wording.further"), h("p", { class: "hint" }, say("wording.further_hint")), ...boxes, further),
    ],
    names: named,
    /** Takes a learned prompt, and compares it, alone and tuned on the image, with a sentence.
     * @param {string} prompt @param {string} sentence @param {boolean} compared */
    choose: (prompt, sentence, compared) => {
      wording.value = prompt;
      showChosen();
      template.value = sentence;
      for (const box of boxes) {
        const input = box.querySelector("input");
        input.checked = compared && COMPARED.includes(input.value);
      }
    },
    isRouted: () => promptings().includes("routed"),
    modelChanged: () => {
      show(wording, option("", say("wording.standard")), ...own().map((p) => option(p.id, say("wording.prompt", { id: p.id }))), option(OWN, say("wording.own")));
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
  if (names.length < 2) return say("wording.lacking_classes");
  return new Set(names).size < names.length ? say("wording.lacking_distinct") : "";
}

/** @param {string[]} promptings @param {string[]} ids */
function lackingPrompts(promptings, ids) {
  if (ids.length) return "";
  if (promptings.includes("few-shot+zero-shot")) return say("wording.lacking_prompt");
  return promptings.includes("routed") ? say("wording.lacking_bank") : "";
}
