// Each noise level: a noisy copy to look at, and the votes of each target with their bounds.

import { h } from "../elements/dom.js";
import { picture } from "../elements/picture.js";
import { confidence, count, length, STOPPED, targetName } from "../elements/words.js";
import { mark } from "./verdict.js";
import { votesChart } from "./votes_chart.js";

/** @param {any} found @param {any[][]} targets @param {AbortSignal} signal */
export function levels(found, targets, signal) {
  const sigmas = [...new Set(found.certificates.map((/** @type {any} */ c) => c.sigma))].sort((a, b) => a - b);
  return h("div", { class: "levels" }, ...sigmas.map((sigma) => level(found, targets, sigma, signal)));
}

/** @param {any} found @param {any[][]} targets @param {number} sigma @param {AbortSignal} signal */
function level(found, targets, sigma, signal) {
  const certificates = targets.map((t) => t.find((c) => c.sigma === sigma)).filter(Boolean);
  return h(
    "section",
    { class: "level" },
    h(
      "figure",
      { class: "noisy" },
      picture(`certifications/${found.id}/noisy.png?sigma=${sigma}`, `A noisy copy at noise level ${sigma}`, signal, "No noisy copy can be shown."),
      h("figcaption", {}, h("strong", {}, `σ ${sigma}`), " a noisy copy, drawn to look at"),
    ),
    h("div", { class: "level-targets" }, ...certificates.map((c) => outcome(c, targets.length > 1))),
  );
}

/** @param {any} certificate @param {boolean} several */
function outcome(certificate, several) {
  const claimed = certificate.outcome === "certified";
  const { counts, ambiguous } = finalCounts(certificate);
  const topIndex = claimed ? certificate.class_index : certificate.closest_class_index;
  return h(
    "div",
    { class: `outcome ${certificate.outcome}` },
    h("h3", {}, mark(certificate.outcome), claimed ? certificate.prediction : "Abstained", claimed && h("span", { class: "radius" }, `radius ${length(certificate.radius)}`)),
    several && h("p", { class: "eyebrow" }, targetName(certificate)),
    !claimed && h("p", { class: "hint" }, why(certificate)),
    votesChart({
      classNames: certificate.class_names,
      counts,
      ambiguous,
      topIndex,
      pALower: certificate.p_a_lower,
      pBUpper: certificate.p_b_upper,
      caption: `${count(certificate.n_used)} votes; the marks are bounds that hold with confidence ${confidence(certificate.alpha)}`,
      claimed,
    }),
    h("details", {}, h("summary", {}, "In words, and how it was sampled"), h("p", {}, certificate.statement), sampling(certificate)),
  );
}

/** @param {any} certificate */
function why(certificate) {
  if (certificate.contradiction) return "Two looks at the votes claimed different classes, so one was false. Tell the operator.";
  if (certificate.stopped_by === "selector_abstained") return "The choice among the prompts was not constant enough.";
  return `The votes were too divided for a claim. Most fell on “${certificate.closest_class}”, which is not a prediction.`;
}

/** @param {any} c @returns {{counts: number[], ambiguous: number}} */
export function finalCounts(c) {
  if (c.procedure === "cohen") return { counts: c.counts_estimation, ambiguous: c.ambiguous };
  const last = c.looks[c.looks.length - 1];
  return { counts: last.counts, ambiguous: last.ambiguous };
}

/** @param {any} c */
function sampling(c) {
  const text =
    c.procedure === "cohen"
      ? `Procedure cohen: ${count(c.n0)} samples chose the class, ${count(c.n)} fresh ones bounded it.`
      : `Procedure staged: ${count(c.n_used)} of at most ${count(c.n_max)} samples, because ${STOPPED[c.stopped_by] ?? c.stopped_by}.`;
  return h("p", { class: "hint" }, `${text} Error probability α ${c.alpha}${c.joint ? `, for all ${c.certificates_in_request} certificates together` : ""}. Attempt ${c.attempts} on this image.`);
}
