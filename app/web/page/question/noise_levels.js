// Noise levels as chips to tick, with room for others.

import { h } from "../elements/dom.js";

const LEVELS = [0.1, 0.25, 0.5, 1];
const CHOSEN = [0.1, 0.25, 0.5];

/** @param {() => void} changed */
export function noiseLevels(changed) {
  const chips = h("div", { class: "chips" });
  const add = (/** @type {number} */ level, /** @type {boolean} */ checked) =>
    chips.append(h("label", { class: "chip" }, h("input", { type: "checkbox", value: level, checked, change: changed }), String(level)));
  LEVELS.forEach((level) => add(level, CHOSEN.includes(level)));
  const other = h("input", { type: "text", inputmode: "decimal", size: 6, id: "another-level" });
  const trouble = h("p", { class: "problem", role: "alert" });
  const addOther = () => {
    const level = Number(other.value.replace(",", "."));
    trouble.textContent = level >= 0.001 && level <= 10 ? "" : "A noise level lies between 0.001 and 10.";
    if (trouble.textContent) return;
    const known = [...chips.querySelectorAll("input")].find((i) => Number(i.value) === level);
    if (known) known.checked = true;
    else add(level, true);
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
    /** A level that was typed and not added would be left out without a word. */
    lacking: () => {
      if (other.value.trim()) addOther();
      else trouble.textContent = "";
      return trouble.textContent || (values().length ? "" : "Choose at least one noise level.");
    },
  };
}
