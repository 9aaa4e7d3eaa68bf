// What the model says, and up to which change; or that it abstains.

import { largest } from "./answer.js";
import { h, svg } from "./dom.js";
import { length, SCOPES, targetName } from "./words.js";

/** @param {any[]} certificates of one target, by noise level @param {boolean} several */
export function verdict(certificates, several) {
  const best = largest(certificates);
  const name = several && h("p", { class: "eyebrow" }, targetName(certificates[0]));
  return best ? certified(certificates, best, name) : abstained(certificates, name);
}

/** @param {any[]} certificates @param {any} best @param {any} name */
function certified(certificates, best, name) {
  const classes = [...new Set(certificates.filter((c) => c.outcome === "certified").map((c) => c.prediction))];
  const levels = best.grey_levels;
  return h(
    "section",
    { class: "card verdict certified" },
    name,
    h("p", { class: "badge" }, mark("certified"), "Certified"),
    h("p", { class: "prediction" }, classes.length === 1 ? best.prediction : "No single answer"),
    classes.length > 1 && h("p", {}, `Noise levels differ: ${certificates.filter((c) => c.outcome === "certified").map((c) => `${c.prediction} at σ ${c.sigma}`).join(", ")}.`),
    h(
      "p",
      { class: "claim" },
      classes.length === 1
        ? ["The answer stays the same under every change smaller than l2 ", h("strong", {}, length(best.radius)), ` at noise level σ ${best.sigma}.`]
        : [`The largest radius is `, h("strong", {}, length(best.radius)), ` at σ ${best.sigma}, for ${best.prediction}.`],
    ),
    h(
      "dl",
      { class: "means" },
      ...fact("Every pixel may change by", `${greyLevels(levels.every_pixel)} of 255 grey levels`),
      ...fact("or a single pixel by", `${greyLevels(levels.one_pixel)} of 255 grey levels`),
    ),
    limits(best),
  );
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

/** @param {any} best */
function limits(best) {
  const not = [
    "that the answer is the right diagnosis;",
    "anything about larger changes, or about cropping, turning or windowing the image before it came here;",
  ];
  if (best.guarantee_scope === "frozen_prompt") not.push("anything about tuning the prompt again on a changed image;");
  return h(
    "div",
    { class: "limits" },
    h("p", {}, h("strong", {}, "It does not say")),
    h("ul", {}, ...not.map((text) => h("li", {}, text))),
    h("p", { class: "hint" }, SCOPES[best.guarantee_scope]),
  );
}

/** @param {string} term @param {string} value */
function fact(term, value) {
  return [h("dt", {}, term), h("dd", {}, value)];
}

/** Fewer than this many, cut and not rounded. @param {number} levels */
function greyLevels(levels) {
  const cut = Math.floor(levels * 100) / 100;
  return cut >= 10 ? String(Math.floor(cut)) : cut.toFixed(2);
}

/** A ring that is full, or one that is struck through. @param {string} kind */
export function mark(kind) {
  return svg(
    "svg",
    { class: `mark ${kind}`, width: 18, height: 18, viewBox: "0 0 18 18", "aria-hidden": "true" },
    svg("circle", { cx: 9, cy: 9, r: 7 }),
    kind === "certified" ? svg("path", { d: "M5.5 9.2l2.4 2.4 4.6-5" }) : svg("line", { x1: 4.4, x2: 13.6, y1: 13.6, y2: 4.4 }),
  );
}
