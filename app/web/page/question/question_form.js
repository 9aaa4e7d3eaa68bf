// The question: model, classes and their wording, noise levels, goal. The rest is under Advanced.

import { h } from "../elements/dom.js";
import { choice, field, group, number, select } from "../elements/fields.js";
import { say, sayName } from "../strings/say.js";
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
      { input: changed, change: changed },
      field(say("column.model"), "", model),
      about,
      away,
      ...wording.elements,
      group(say("question.levels"), h("p", { class: "hint" }, say("question.levels_hint")), levels.element),
      group(say("question.goal"), ...goal.elements),
      h("details", { class: "advanced" }, h("summary", {}, say("common.advanced")), ...wording.advanced, goal.advanced, ...reckoning.elements),
    ),
    get model() {
      return current();
    },
    /** Asks about what a learned prompt tells apart: beside the sentence, or alone at these levels.
     * @param {string} id @param {string} template @param {string[]} [only] */
    choosePrompt: (id, template, only) => {
      model.value = prompts.find((p) => p.id === id).model;
      showModel();
      wording.choose(id, template, !only);
      levels.choose(only);
      changed();
    },
    /** Takes over what the worker hosts now say of the same models. @param {any[]} now */
    hostsChanged: (now) => {
      for (const { id, hosts } of now) models.find((m) => m.id === id).hosts = hosts;
      away.textContent = whyAway(current());
    },
    get sigmas() {
      return levels.values();
    },
    get classNames() {
      return wording.names();
    },
    /** Whether there is a radius that the samples might not prove. */
    get hasGoal() {
      return goal.asked() > 0 && levels.values().length > 0;
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
  const why = missing.length ? say("question.missing", { files: missing.join(", ") }) : detail.replace(/\.$/, "") || sayName("host", state);
  return say("question.away", { why });
}

/** @param {any} wording @param {any} goal */
function lackingTogether(wording, goal) {
  return wording.isRouted() && !goal.isStaged() ? say("question.lacking_together") : "";
}

/** The error probability and the attempt. */
function reckoningFields() {
  const alpha = number("0.001");
  const joint = choice("checkbox", say("question.joint"), {}, say("question.joint_hint"));
  const attempt = h("input", { type: "number", min: 0, max: 10000, value: 0 });
  return {
    elements: [
      field(say("question.alpha"), say("question.alpha_hint"), alpha),
      joint,
      field(say("question.attempt"), say("question.attempt_hint"), attempt),
    ],
    fields: () => [
      ["alpha", alpha.value.trim().replace(",", ".")],
      ...(joint.querySelector("input").checked ? [["joint", "true"]] : []),
      ...(attempt.value !== "0" ? [["attempt", attempt.value]] : []),
    ],
  };
}
