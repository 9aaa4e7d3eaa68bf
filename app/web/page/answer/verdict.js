// The answer and its radius, or the abstention.

import { h, svg } from "../elements/dom.js";
import { confidence, length } from "../elements/words.js";
import { say, sayAround, sayName } from "../strings/say.js";
import { largest } from "./targets.js";

/** @param {any[]} certificates of one wording, by noise level */
export function verdict(certificates) {
  const best = largest(certificates);
  return best ? certified(certificates, best) : abstained(certificates);
}

/** @param {any[]} certificates @param {any} best */
function certified(certificates, best) {
  const classes = new Set(certificates.filter((c) => c.outcome === "certified").map((c) => c.prediction));
  const said = classes.size === 1 ? oneAnswer(best, certificates) : severalAnswers(best, certificates);
  const badge = classes.size === 1 ? h("p", { class: "badge" }, mark("certified"), say("common.certified")) : h("p", { class: "badge" }, say("verdict.contradictory"));
  return h("section", { class: `card verdict ${classes.size === 1 ? "certified" : "abstained"}` }, badge, ...said, limits([best]));
}

/** @param {any} best @param {any[]} certificates */
function oneAnswer(best, certificates) {
  const levels = best.grey_levels;
  const silent = certificates.filter((c) => c.outcome === "abstained").map((c) => `σ\u00a0${c.sigma}`);
  return [
    h("p", { class: "prediction" }, best.prediction),
    h("p", { class: "claim" }, ...sayAround(best.joint ? "verdict.claim_joint" : "verdict.claim", { radius: h("strong", {}, length(best.radius)), sigma: best.sigma, confidence: confidence(best.alpha) }), ` ${sayName("scope", best.guarantee_scope)}`),
    255 * best.radius <= 1 && h("p", { class: "claim" }, say("verdict.no_other")),
    h("dl", { class: "means" }, ...fact(say("verdict.every_pixel"), greyLevels(levels.every_pixel)), ...fact(say("verdict.one_pixel"), greyLevels(levels.one_pixel))),
    outsideHint(certificates),
    silent.length > 0 && h("p", { class: "silent" }, mark("abstained"), ` ${say("verdict.silent", { levels: list(silent) })}`),
  ];
}

/** @param {string[]} words one or more */
function list(words) {
  return words.length < 2 ? words[0] : say("verdict.list", { others: words.slice(0, -1).join(", "), last: words[words.length - 1] });
}

/** Each noise level is a classifier of its own. If they differ, none of them is the answer.
 * @param {any} best @param {any[]} certificates */
function severalAnswers(best, certificates) {
  const row = (/** @type {any} */ c) =>
    h("tr", {}, h("th", { scope: "row" }, `σ ${c.sigma}`), h("td", {}, c.outcome === "certified" ? c.prediction : say("outcome.abstained")), h("td", {}, c.outcome === "certified" ? say("verdict.within", { radius: length(c.radius) }) : ""));
  return [
    h("p", { class: "prediction long" }, say("verdict.levels_contradict")),
    h("p", { class: "claim" }, say("verdict.levels_contradict_text")),
    h("table", { class: "by-level" }, h("tbody", {}, ...certificates.map(row))),
    h("p", { class: "hint" }, sayName("scope", best.guarantee_scope)),
    outsideHint(certificates),
  ];
}

/** @param {any[]} certificates */
function abstained(certificates) {
  const several = certificates.length > 1;
  return h(
    "section",
    { class: "card verdict abstained" },
    h("p", { class: "badge" }, mark("abstained"), say("common.abstained")),
    h("p", { class: "prediction" }, say("verdict.no_claim")),
    h(
      "p",
      { class: "claim" },
      say(several ? "verdict.abstained_everywhere" : "verdict.abstained_here"),
    ),
    h("p", { class: "hint" }, say("verdict.abstained_hint")),
  );
}

/** The answer is one of the classes, also for an image of something else. @param {any[]} certificates */
export function outsideHint(certificates) {
  const [{ class_names: names }] = certificates;
  const alike = certificates.every((c) => c.class_names.join() === names.join());
  const classes = { classes: say("count.class", { n: names.length }), names: names.join("; ") };
  return h("p", { class: "outside" }, say(alike ? "verdict.outside" : "verdict.outside_several", classes));
}

/** What a certificate does not say. @param {any[]} certificates */
export function limits(certificates) {
  const scopes = [...new Set(certificates.map((c) => c.guarantee_scope))];
  const not = [say("limits.diagnosis"), say("limits.larger")];
  if (scopes.includes("frozen_prompt")) not.push(say("limits.tuning"));
  return h("div", { class: "limits" }, h("p", {}, h("strong", {}, say("limits.title"))), h("ul", {}, ...not.map((text) => h("li", {}, `${text}${text === not[not.length - 1] ? "." : ";"}`))));
}

/** @param {string} term @param {string} value */
function fact(term, value) {
  return [h("dt", {}, term), h("dd", {}, value)];
}

/** A strict upper limit in grey levels, cut and never rounded up. @param {number} levels */
function greyLevels(levels) {
  const cut = Math.floor(levels * 100) / 100;
  if (cut < 1) return say("verdict.below_one_level", { levels: cut.toFixed(2) });
  return say("verdict.grey_levels", { levels: cut >= 10 ? Math.floor(cut) : cut.toFixed(2) });
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
