// When sampling ends: the question, the most samples, and by which procedure.

import { h } from "../elements/dom.js";
import { choice, field, number, select } from "../elements/fields.js";

const EFFORTS = /** @type {[string, string][]} */ ([
  ["1000", "quick look, up to 1,000 samples"],
  ["10000", "usual, up to 10,000 samples"],
  ["100000", "thorough, up to 100,000 samples"],
]);
const PROCEDURES = /** @type {[string, string][]} */ ([
  ["staged", "staged: ends when the question is answered"],
  ["cohen", "cohen: always the same number of samples"],
]);
const TOLERANCE = "0.05";

export function goalFields() {
  const effort = select(EFFORTS, { "aria-label": "Effort" });
  effort.value = "10000";
  const procedure = select(PROCEDURES);
  const target = number("0.25", { "aria-label": "Radius that matters" });
  const far = choice("radio", "How far does the answer hold?", { name: "goal", checked: true }, "Samples until more would hardly add to the radius.");
  const asked = choice("radio", "Does it hold at least up to this l2 radius?", { name: "goal" }, "Often needs far fewer samples: it stops as soon as that is answered.");
  asked.append(target);
  target.addEventListener("focus", () => (asked.querySelector("input").checked = true));
  const fixed = h("p", { class: "hint", hidden: true }, "The procedure cohen has no question to stop at: it takes all its samples.");
  const question = h("div", {}, far, asked);
  const tolerance = number(TOLERANCE);
  const minimum = number("", { placeholder: "0.05 σ" });
  const chosen = number("100", { inputmode: "numeric" });
  const staged = h(
    "div",
    {},
    field("Tolerance", "How much of the radius may be given up to end earlier. 0.05: within 5 % of what all samples would give; 0: take them all.", tolerance),
    field("Smallest radius of interest", "Ends when not even this is in reach. Empty: a twentieth of the noise level.", minimum),
  );
  const cohen = h("div", { hidden: true }, field("Samples that choose the class", "Fresh ones, as many as the effort says, then bound it.", chosen));
  const isStaged = () => procedure.value === "staged";
  const isAsked = () => isStaged() && asked.querySelector("input").checked;
  procedure.addEventListener("change", () => {
    question.hidden = staged.hidden = !isStaged();
    fixed.hidden = cohen.hidden = isStaged();
  });
  return {
    elements: [question, fixed, field("Effort", "", effort)],
    advanced: h("div", {}, field("Procedure", "cohen is the procedure of the literature, to compare with: it often needs many more samples for the same answer.", procedure), staged, cohen),
    isStaged,
    lacking: () => (isAsked() && !(Number(plain(target)) > 0 && Number(plain(target)) <= 1000) ? "The radius that matters is a number above 0." : ""),
    /** @returns {[string, string][]} */
    fields: () => {
      if (!isStaged()) return [["procedure", "cohen"], ["n", effort.value], ...given("n0", chosen, "100")];
      if (isAsked()) return [["n_max", effort.value], ["target_radius", plain(target)]];
      return [["n_max", effort.value], ...given("tolerance", tolerance, TOLERANCE), ...given("minimum_radius", minimum, "")];
    },
  };
}

/** As the service reads it, whatever stands before the decimals. @param {HTMLInputElement} input */
function plain(input) {
  return input.value.trim().replace(",", ".");
}

/** @param {string} name @param {HTMLInputElement} input @param {string} usual @returns {[string, string][]} */
function given(name, input, usual) {
  const value = plain(input);
  return value === usual || value === "" ? [] : [[name, value]];
}
