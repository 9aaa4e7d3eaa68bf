// When sampling ends: the question, the largest number of samples, and the procedure.

import { h } from "../elements/dom.js";
import { choice, field, number, select } from "../elements/fields.js";
import { say } from "../strings/say.js";

const EFFORTS = /** @type {[string, string][]} */ ([
  ["1000", say("goal.quick")],
  ["10000", say("goal.usual")],
  ["100000", say("goal.thorough")],
]);
const PROCEDURES = /** @type {[string, string][]} */ ([
  ["staged", say("goal.staged")],
  ["cohen", say("goal.cohen")],
]);
const CAPS = /** @type {[string, string][]} */ ([
  ["", say("goal.no_cap")],
  ["10000", say("goal.up_to", { n: 10000 })],
  ["100000", say("goal.up_to", { n: 100000 })],
]);
const LEAST_GROWTH = 2;
const TOLERANCE = "0.05";

export function goalFields() {
  const effort = select(EFFORTS, { "aria-label": say("goal.effort") });
  effort.value = "10000";
  const procedure = select(PROCEDURES);
  const target = number("0.25", { "aria-label": say("goal.radius") });
  const far = choice("radio", say("goal.far"), { name: "goal", checked: true }, say("goal.far_hint"));
  const asked = choice("radio", say("goal.asked"), { name: "goal" }, say("goal.asked_hint"));
  asked.append(target);
  target.addEventListener("focus", () => (asked.querySelector("input").checked = true));
  const fixed = h("p", { class: "hint", hidden: true }, say("goal.fixed"));
  const question = h("div", {}, far, asked);
  const tolerance = number(TOLERANCE);
  const minimum = number("", { placeholder: "0.05 σ" });
  const cap = select(CAPS);
  const chosen = number("100", { inputmode: "numeric" });
  const staged = h(
    "div",
    {},
    field(say("goal.tolerance"), say("goal.tolerance_hint"), tolerance),
    field(say("goal.minimum"), say("goal.minimum_hint"), minimum),
    field(say("goal.cap"), say("goal.cap_hint"), cap),
  );
  const cohen = h("div", { hidden: true }, field(say("goal.n0"), say("goal.n0_hint"), chosen));
  const isStaged = () => procedure.value === "staged";
  const isAsked = () => isStaged() && asked.querySelector("input").checked;
  procedure.addEventListener("change", () => {
    question.hidden = staged.hidden = !isStaged();
    fixed.hidden = cohen.hidden = isStaged();
  });
  return {
    elements: [question, fixed, field(say("goal.effort"), "", effort)],
    advanced: h("div", {}, field(say("goal.procedure"), say("goal.procedure_hint"), procedure), staged, cohen),
    isStaged,
    /** The radius asked about, or 0. */
    asked: () => (isStaged() ? Number(plain(isAsked() ? target : minimum)) : 0),
    lacking: () => lackingGoal(isAsked() ? plain(target) : null) || (isStaged() ? lackingCap(Number(effort.value), Number(cap.value)) : ""),
    /** @returns {[string, string][]} */
    fields: () => {
      if (!isStaged()) return [["procedure", "cohen"], ["n", effort.value], ...given("n0", chosen, "100")];
      const samples = /** @type {[string, string][]} */ ([["n_max", effort.value], ...given("n_cap", cap, "")]);
      if (isAsked()) return [...samples, ["target_radius", plain(target)]];
      return [...samples, ...given("tolerance", tolerance, TOLERANCE), ...given("minimum_radius", minimum, "")];
    },
  };
}

/** @param {string | null} target */
function lackingGoal(target) {
  return target === null || (Number(target) > 0 && Number(target) <= 1000) ? "" : say("goal.lacking_radius");
}

/** @param {number} n @param {number} cap 0: none */
function lackingCap(n, cap) {
  return cap && cap < LEAST_GROWTH * n ? say("goal.lacking_cap") : "";
}

/** The number as the service reads it, with a decimal point. @param {HTMLInputElement} input */
function plain(input) {
  return input.value.trim().replace(",", ".");
}

/** @param {string} name @param {HTMLInputElement} input @param {string} usual @returns {[string, string][]} */
function given(name, input, usual) {
  const value = plain(input);
  return value === usual || value === "" ? [] : [[name, value]];
}
