// The answer of a finished certification: verdict, radius, votes, what it does not mean, downloads.

import { h } from "../elements/dom.js";
import { targetName } from "../elements/words.js";
import { say } from "../strings/say.js";
import { comparison } from "./comparison.js";
import { downloads } from "./downloads.js";
import { goalCard } from "./goal.js";
import { levels } from "./levels.js";
import { moreSamples } from "./more_samples.js";
import { radiusChart } from "./radius_chart.js";
import { tangible } from "./tangible.js";
import { groupTargets, largest } from "./targets.js";
import { limits, verdict } from "./verdict.js";
import { witness } from "./witness.js";
import { yardsticks } from "./yardsticks.js";

/** @param {any} found a finished certification @param {AbortSignal} signal @returns {import("../elements/dom.js").Child[]} */
export function answer(found, signal) {
  const targets = groupTargets(found.certificates);
  return [
    h("h2", { id: "answer-title", class: "sr", tabindex: "-1" }, summary(targets, found.goal)),
    goalCard(found, targets),
    targets.length > 1 ? comparison(found, targets) : verdict(targets[0]),
    targets.length > 1 && h("section", { class: "card" }, limits(found.certificates)),
    statement(found.certificates, targets),
    section(say("answer.chart"), radiusText(targets), radiusChart(targets, found.goal?.radius)),
    yardsticks(found, signal),
    tangible(found, signal),
    section(say("answer.votes"), say("answer.votes_hint"), levels(found, targets, signal)),
    witness(found, signal),
    moreSamples(found),
    downloads(found, signal),
  ];
}

/** @param {any[][]} targets @param {any} goal */
function summary(targets, goal) {
  const said = targets.map((certificates) => {
    const best = largest(certificates);
    const words = best ? say("answer.within", { class: best.prediction, radius: best.radius }) : say("answer.abstained");
    return targets.length > 1 ? say("answer.of_wording", { wording: targetName(certificates[0]), answer: words }) : words;
  });
  return `${goal ? `${goal.headline}. ` : ""}${say("answer.summary", { answers: said.join("; ") })}`;
}

/** @param {any[][]} targets */
function radiusText(targets) {
  const some = targets.some((t) => t.some((c) => c.outcome === "abstained"));
  return [say("answer.chart_hint"), some && say("answer.chart_abstains")].filter(Boolean).join(" ");
}

/** @param {any[]} certificates @param {any[][]} targets */
function statement(certificates, targets) {
  const shown = largest(certificates) ?? targets[0][0];
  return h(
    "section",
    { class: "statement" },
    h("h2", {}, say("answer.quote", { sigma: shown.sigma })),
    h("blockquote", {}, shown.statement),
    h("p", { class: "hint" }, together(certificates)),
  );
}

/** @param {any[]} certificates */
function together(certificates) {
  const { joint, certificates_in_request: all, alpha } = certificates[0];
  const m = certificates.length;
  if (joint) return say("answer.joint", { n: all });
  if (m === 1 || !largest(certificates)) return "";
  return say("answer.each", { n: m, sum: Number((m * alpha).toPrecision(6)), alpha });
}

/** @param {string} title @param {string} text @param {HTMLElement} content */
function section(title, text, content) {
  return h("section", { class: "card" }, h("h2", {}, title), h("p", { class: "hint" }, text), content);
}
