// Fields of forms: a label, a control, and help in plain words that belongs to it.

import { freshId, h } from "./dom.js";

/**
 * @param {string} label @param {string} help @param {HTMLElement} control
 * @returns {HTMLElement}
 */
export function field(label, help, control) {
  const id = control.id || freshId("field");
  control.id = id;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    control,
    help && h("p", { class: "hint", id: `${id}-help` }, help),
  );
}

/**
 * A check box or radio button with its words beside it.
 * @param {"checkbox" | "radio"} type @param {string} label
 * @param {import("./dom.js").Attributes} [attributes] @param {string} [help]
 */
export function choice(type, label, attributes = {}, help = "") {
  const id = freshId("choice");
  const described = help ? { "aria-describedby": `${id}-help` } : {};
  return h(
    "div",
    { class: "choice" },
    h("input", { type, id, ...described, ...attributes }),
    h("label", { for: id }, label),
    help && h("p", { class: "hint", id: `${id}-help` }, help),
  );
}

/** @param {[string, string][]} options value and words @param {import("./dom.js").Attributes} [attributes] */
export function select(options, attributes = {}) {
  return h("select", attributes, ...options.map(([value, words]) => h("option", { value }, words)));
}

/** A field for a figure, typed with a point or a comma. @param {string} value
 * @param {import("./dom.js").Attributes} [attributes] */
export function number(value, attributes = {}) {
  return h("input", { type: "text", inputmode: "decimal", size: 8, autocomplete: "off", value, ...attributes });
}

/** @param {string} legend @param {...import("./dom.js").Child} children */
export function group(legend, ...children) {
  return h("fieldset", {}, h("legend", {}, legend), ...children);
}
