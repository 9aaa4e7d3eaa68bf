// Each noise level: a noisy copy to look at, and the votes for each target with their bounds.

import { h } from "../elements/dom.js";
import { picture } from "../elements/picture.js";
import { confidence, length, targetName } from "../elements/words.js";
import { say, sayName } from "../strings/say.js";
import { mark } from "./verdict.js";
import { comparedChart, votesChart } from "./votes_chart.js";

/** @param {any} found @param {any[][]} targets @param {AbortSignal} signal */
export function levels(found, targets, signal) {
  const sigmas = [...new Set(found.certificates.map((/** @type {any} */ c) => c.sigma))].sort((a, b) => a - b);
  if (targets.length < 2) return h("div", { class: "levels" }, ...sigmas.map((sigma) => level(found, targets, sigma, signal)));
  return h("div", {}, ...sigmas.map((sigma) => h("details", { class: "folded" }, h("summary", {}, say("votes.folded", { sigma, n: targets.length })), level(found, targets, sigma, signal))));
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
      picture(`certifications/${found.id}/noisy.png?sigma=${sigma}`, say("votes.noisy_copy", { sigma }), signal, say("votes.no_noisy_copy")),
      h("figcaption", {}, h("strong", {}, `σ ${sigma}`), ` ${say("votes.illustration")}`),
    ),
    h("div", { class: "level-targets" }, ...(comparable(certificates) ? [compared(certificates)] : certificates.map((c) => outcome(c, targets.length > 1)))),
  );
}

/** Whether several wordings have the same classes, few enough for one axis. @param {any[]} certificates */
function comparable(certificates) {
  const [{ class_names: names }] = certificates;
  return certificates.length > 1 && names.length <= 8 && certificates.every((c) => c.class_names.join("\n") === names.join("\n"));
}

/** @param {any[]} certificates */
function compared(certificates) {
  const series = certificates.map((c) => ({ name: targetName(c), ...drawn(c) }));
  return h(
    "div",
    { class: "outcome" },
    comparedChart(certificates[0].class_names, series, say("votes.compared")),
    h("details", {}, h("summary", {}, say("votes.details")), ...certificates.flatMap((c) => [h("h4", {}, targetName(c)), c.outcome === "abstained" && h("p", { class: "hint" }, why(c)), h("p", {}, c.statement), sampling(c)])),
  );
}

/** What a chart shows of a certificate. @param {any} certificate */
function drawn(certificate) {
  const claimed = certificate.outcome === "certified";
  return {
    classNames: certificate.class_names,
    ...finalCounts(certificate),
    topIndex: claimed ? certificate.class_index : certificate.closest_class_index,
    pALower: certificate.p_a_lower,
    pBUpper: certificate.p_b_upper,
    claimed,
  };
}

/** @param {any} certificate @param {boolean} several */
function outcome(certificate, several) {
  const claimed = certificate.outcome === "certified";
  return h(
    "div",
    { class: `outcome ${certificate.outcome}` },
    h("h3", {}, mark(certificate.outcome), claimed ? certificate.prediction : say("common.abstained"), claimed && h("span", { class: "radius" }, say("votes.radius", { radius: length(certificate.radius) }))),
    several && h("p", { class: "eyebrow" }, targetName(certificate)),
    !claimed && h("p", { class: "hint" }, why(certificate)),
    votesChart({ ...drawn(certificate), caption: say("votes.caption", { n: certificate.n_used, confidence: confidence(certificate.alpha) }) }),
    h("details", {}, h("summary", {}, say("votes.details")), h("p", {}, certificate.statement), sampling(certificate)),
  );
}

/** @param {any} certificate */
function why(certificate) {
  if (certificate.contradiction) return say("votes.contradiction");
  if (certificate.stopped_by === "selector_abstained") return say("votes.selector");
  return say("votes.divided", { class: certificate.closest_class });
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
      ? say("votes.cohen", { n0: c.n0, n: c.n })
      : say("votes.staged", { n: c.n_used, most: c.n_max, reason: sayName("stopped", c.stopped_by) });
  return h("p", { class: "hint" }, `${text} ${say(c.joint ? "votes.alpha_joint" : "votes.alpha", { alpha: c.alpha, n: c.certificates_in_request, attempt: c.attempts })}`);
}
