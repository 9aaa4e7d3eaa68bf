// The answer and its radius, or the abstention.

import { h, svg } from "../elements/dom.js";
import { confidence, length, SCOPES, targetName } from "../elements/words.js";
import { largest } from "./targets.js";

/** @param {any[]} certificates of one target, by noise level @param {boolean} several */
export function verdict(certificates, several) {
  const best = largest(certificates);
  const name = several && h("p", { class: "eyebrow" }, targetName(certificates[0]));
  return best ? certified(certificates, best, name) : abstained(certificates, name);
}

/** @param {any[]} certificates @param {any} best @param {any} name */
function certified(certificates, best, name) {
  const classes = new Set(certificates.filter((c) => c.outcome === "certified").map((c) => c.prediction));
  const said = classes.size === 1 ? oneAnswer(best, certificates) : severalAnswers(certificates);
  const badge = classes.size === 1 ? h("p", { class: "badge" }, mark("certified"), "Certified") : h("p", { class: "badge" }, "Contradictory");
  return h("section", { class: `card verdict ${classes.size === 1 ? "certified" : "abstained"}` }, name, badge, ...said, !name && limits([best]));
}

/** @param {any} best @param {any[]} certificates */
function oneAnswer(best, certificates) {
  const levels = best.grey_levels;
  const silent = certificates.filter((c) => c.outcome === "abstained").map((c) => `σ\u00a0${c.sigma}`);
  return [
    h("p", { class: "prediction" }, best.prediction),
    h("p", { class: "claim" }, "The answer stays the same under every change smaller than l2\u00a0", h("strong", {}, length(best.radius)), `, at noise level σ ${best.sigma}, with confidence ${confidence(best.alpha)}${best.joint ? " for all certificates together" : ""}. ${SCOPES[best.guarantee_scope]}`),
    255 * best.radius <= 1 && h("p", { class: "claim" }, "No other 8-bit image is that near: this covers this image alone."),
    h("dl", { class: "means" }, ...fact("Every pixel may change by less than", greyLevels(levels.every_pixel)), ...fact("or a single pixel by less than", greyLevels(levels.one_pixel))),
    silent.length > 0 && h("p", { class: "silent" }, mark("abstained"), ` At ${list(silent)} it abstains and claims nothing.`),
  ];
}

/** @param {string[]} words one or more */
function list(words) {
  return words.length < 2 ? words[0] : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}

/** Each noise level is a classifier of its own. If they differ, none of them is the answer.
 * @param {any[]} certificates */
function severalAnswers(certificates) {
  const row = (/** @type {any} */ c) =>
    h("tr", {}, h("th", { scope: "row" }, `σ ${c.sigma}`), h("td", {}, c.outcome === "certified" ? c.prediction : "abstained"), h("td", {}, c.outcome === "certified" ? `within ${length(c.radius)}` : ""));
  return [
    h("p", { class: "prediction long" }, "The noise levels contradict one another"),
    h("p", { class: "claim" }, "Each noise level has a proved answer, but the answers are not the same. The model is not certain about this image."),
    h("table", { class: "by-level" }, h("tbody", {}, ...certificates.map(row))),
  ];
}

/** @param {any[]} certificates @param {any} name */
function abstained(certificates, name) {
  const several = certificates.length > 1;
  return h(
    "section",
    { class: "card verdict abstained" },
    name,
    h("p", { class: "badge" }, mark("abstained"), "Abstained"),
    h("p", { class: "prediction" }, "No claim"),
    h(
      "p",
      { class: "claim" },
      `At ${several ? "none of the noise levels" : "this noise level"} was the answer constant enough to say anything. That is an outcome of its own: not a class, not a radius of zero, not an error.`,
    ),
    h("p", { class: "hint" }, "More samples, another noise level or a learned prompt may lead to a claim. Each further try on this image is counted in its certificates."),
  );
}

/** What a certificate does not say. @param {any[]} certificates */
export function limits(certificates) {
  const scopes = [...new Set(certificates.map((c) => c.guarantee_scope))];
  const not = [
    "that the answer is the right diagnosis",
    "anything about larger changes, or about cropping, turning or windowing the image before it came here",
  ];
  if (scopes.includes("frozen_prompt")) not.push("anything about tuning a prompt again on a changed image");
  return h("div", { class: "limits" }, h("p", {}, h("strong", {}, "It does not say")), h("ul", {}, ...not.map((text) => h("li", {}, `${text}${text === not[not.length - 1] ? "." : ";"}`))), scopes.length === 1 && h("p", { class: "hint" }, SCOPES[scopes[0]]));
}

/** @param {string} term @param {string} value */
function fact(term, value) {
  return [h("dt", {}, term), h("dd", {}, value)];
}

/** A strict upper limit in grey levels, cut and never rounded up. @param {number} levels */
function greyLevels(levels) {
  const cut = Math.floor(levels * 100) / 100;
  if (cut < 1) return `${cut.toFixed(2)} of 255 grey levels, so not all by a whole one`;
  return `${cut >= 10 ? Math.floor(cut) : cut.toFixed(2)} of 255 grey levels`;
}

/** A ring with a tick, or one that is struck through. @param {string} kind */
export function mark(kind) {
  return svg(
    "svg",
    { class: `mark ${kind}`, width: 18, height: 18, viewBox: "0 0 18 18", "aria-hidden": "true" },
    svg("circle", { cx: 9, cy: 9, r: 7 }),
    kind === "certified" ? svg("path", { d: "M5.5 9.2l2.4 2.4 4.6-5" }) : svg("line", { x1: 4.4, x2: 13.6, y1: 13.6, y2: 4.4 }),
  );
}
