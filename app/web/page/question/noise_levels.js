// Noise levels to tick, with a field for others.

import { h } from "../elements/dom.js";
import { say } from "../strings/say.js";

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
    trouble.textContent = level >= 0.001 && level <= 10 ? "" : say("levels.range");
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
    element: h("div", {}, chips, h("div", { class: "row add" }, h("label", { for: "another-level" }, say("levels.another")), other, h("button", { type: "button", click: addOther }, say("levels.add"))), trouble),
    values,
    /** Ticks these levels, or those that are ticked at first. @param {string[]} [only] */
    choose: (only = CHOSEN.map(String)) => {
      for (const input of chips.querySelectorAll("input")) input.checked = only.includes(input.value);
      changed();
    },
    /** Adds a level that was typed but not added, which would otherwise be lost silently. */
    lacking: () => {
      if (other.value.trim()) addOther();
      else trouble.textContent = "";
      return trouble.textContent || (values().length ? "" : say("levels.lacking"));
    },
  };
}
