// The question: model, classes and their wording, noise levels, goal. The rest is under Advanced.

import { h } from "../elements/dom.js";
import { choice, field, group, number, select } from "../elements/fields.js";
import { goalFields } from "./goal_fields.js";
import { noiseLevels } from "./noise_levels.js";
import { wordingFields } from "./wording_fields.js";

/**
 * @param {any[]} models @param {any[]} prompts @param {() => void} changed
 * @returns {any} the element, and what it asks for
 */
export function questionForm(models, prompts, changed) {
  const model = select(models.map((m) => [m.id, m.name]));
  model.value = (models.find((m) => m.default) ?? models[0]).id;
  const about = h("p", { class: "hint" });
  const away = h("p", { class: "problem", role: "status" });
  const current = () => models.find((m) => m.id === model.value);
  const wording = wordingFields(current, prompts);
  const levels = noiseLevels(changed);
  const goal = goalFields();
  const reckoning = reckoningFields();
  const showModel = () => {
    about.textContent = current().intended_use;
    away.textContent = whyAway(current());
    wording.modelChanged();
  };
  model.addEventListener("change", () => {
    showModel();
    changed();
  });
  showModel();
  return {
    element: h(
      "div",
      {},
      field("Model", "", model),
      about,
      away,
      ...wording.elements,
      group("Noise levels σ", h("p", { class: "hint" }, "The model looks at noisy copies. More noise can prove more, but hides more of the image. Each level gives one certificate."), levels.element),
      group("Goal", ...goal.elements),
      h("details", { class: "advanced" }, h("summary", {}, "Advanced"), ...wording.advanced, goal.advanced, ...reckoning.elements),
    ),
    get model() {
      return current();
    },
    /** Asks about what a learned prompt tells apart. @param {string} id @param {string} template */
    choosePrompt: (id, template) => {
      model.value = prompts.find((p) => p.id === id).model;
      showModel();
      wording.choose(id, template);
      changed();
    },
    get sigmas() {
      return levels.values();
    },
    get classNames() {
      return wording.names();
    },
    lacking: () => levels.lacking() || wording.lacking() || goal.lacking() || lackingTogether(wording, goal),
    fields: () => [
      ["model", model.value],
      ...levels.values().map((/** @type {number} */ s) => ["sigma", String(s)]),
      ...wording.fields(),
      ...goal.fields(),
      ...reckoning.fields(),
    ],
  };
}

/** Why no worker host can use a model now; empty if one can, or none has reported. @param {any} model */
function whyAway({ hosts }) {
  const states = hosts.map((/** @type {any} */ one) => one.state);
  if (!states.length || states.some((/** @type {string} */ s) => ["ready", "loading", "present"].includes(s))) return "";
  const [{ state, detail, missing_files: missing }] = hosts;
  const why = missing.length ? `missing: ${missing.join(", ")}` : detail.replace(/\.$/, "") || state;
  return `No worker host can certify with this model now: ${why}.`;
}

/** @param {any} wording @param {any} goal */
function lackingTogether(wording, goal) {
  return wording.isRouted() && !goal.isStaged() ? "A choice from a bank is certified by the procedure staged only." : "";
}

/** The error probability and the attempt. */
function reckoningFields() {
  const alpha = number("0.001");
  const joint = choice("checkbox", "All certificates hold together", {}, "Divides α among them, so that you may pick the best one afterwards.");
  const attempt = h("input", { type: "number", min: 0, max: 10000, value: 0 });
  return {
    elements: [
      field("Error probability α", "How often a claim may be false, over the randomness of the service’s sampling. 0.001: confidence 99.9 %.", alpha),
      joint,
      field("Attempt", "A different number draws different noise. The certificates count every attempt.", attempt),
    ],
    fields: () => [
      ["alpha", alpha.value.trim().replace(",", ".")],
      ...(joint.querySelector("input").checked ? [["joint", "true"]] : []),
      ...(attempt.value !== "0" ? [["attempt", attempt.value]] : []),
    ],
  };
}
