// The answer of a finished certification: verdict, radius, votes, what it does not mean, downloads.

import { h } from "../elements/dom.js";
import { downloads } from "./downloads.js";
import { levels } from "./levels.js";
import { radiusChart } from "./radius_chart.js";
import { tangible } from "./tangible.js";
import { groupTargets, largest } from "./targets.js";
import { limits, verdict } from "./verdict.js";

/** @param {any} found a finished certification @param {AbortSignal} signal @returns {import("../elements/dom.js").Child[]} */
export function answer(found, signal) {
  const targets = groupTargets(found.certificates);
  return [
    h("h2", { id: "answer-title", class: "sr", tabindex: "-1" }, summary(targets)),
    h("div", { class: "verdicts" }, ...targets.map((target) => verdict(target, targets.length > 1))),
    targets.length > 1 && h("section", { class: "card" }, limits(found.certificates)),
    statement(found.certificates, targets),
    section("How far, at which noise", radiusText(targets), radiusChart(targets)),
    tangible(found, signal),
    section("What the votes say", "Each noise level is a question of its own. The picture is one noisy copy as the model gets thousands of them.", levels(found, targets, signal)),
    downloads(found, signal),
  ];
}

/** @param {any[][]} targets */
function summary(targets) {
  const said = targets.map((certificates) => {
    const best = largest(certificates);
    return best ? `${best.prediction} within l2 distance ${best.radius}` : "abstained at every noise level";
  });
  return `Answer: ${said.join("; ")}`;
}

/** @param {any[][]} targets */
function radiusText(targets) {
  const some = targets.some((t) => t.some((c) => c.outcome === "abstained"));
  return `Within its radius, no change of the image can change the answer.${some ? " Where the votes were too divided, the service abstains: no claim, neither a class nor an error." : ""}`;
}

/** @param {any[]} certificates @param {any[][]} targets */
function statement(certificates, targets) {
  const shown = largest(certificates) ?? targets[0][0];
  return h(
    "section",
    { class: "statement" },
    h("h2", {}, `What may be quoted, at σ ${shown.sigma}`),
    h("blockquote", {}, shown.statement),
    h("p", { class: "hint" }, together(certificates)),
  );
}

/** @param {any[]} certificates */
function together(certificates) {
  const { joint, certificates_in_request: all, alpha } = certificates[0];
  const m = certificates.length;
  if (joint) return `All ${all} certificates of the request hold together with the confidence that is said.`;
  if (m === 1 || !largest(certificates)) return "";
  return `Each of these ${m} certificates holds on its own. Whoever picks the best of them afterwards is wrong with probability up to ${Number((m * alpha).toPrecision(6))}, not ${alpha}.`;
}

/** @param {string} title @param {string} text @param {HTMLElement} content */
function section(title, text, content) {
  return h("section", { class: "card" }, h("h2", {}, title), h("p", { class: "hint" }, text), content);
}
