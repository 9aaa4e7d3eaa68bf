// Numbers and terms as people read them.

import { language, say, sayName } from "../strings/say.js";

/** A radius, never rounded up: 0.551203 as 0.551. @param {number} radius */
export function length(radius) {
  return (Math.floor(radius * 1000 + 1e-9) / 1000).toFixed(3);
}

/** A sentence of the service with the sign that the page has for noise levels. @param {string} sentence */
export function plainly(sentence) {
  return sentence.replace(/\bsigma (?=\d)/g, "σ\u00a0");
}

/** A share as a percentage with one decimal. A share between 0 and 1 never reads 0 % or 100 %. @param {number} p */
export function percent(p) {
  if (p > 0 && p < 0.0005) return "< 0.1 %";
  if (p < 1 && p >= 0.9995) return "> 99.9 %";
  return `${(100 * p).toFixed(1)} %`;
}

/** A duration in everyday words. @param {number} s */
export function duration(s) {
  if (s < 1.5) return say("duration.second");
  if (s < 90) return say("duration.seconds", { n: Math.ceil(s) });
  if (s < 5400) return say("duration.minutes", { n: Math.round(s / 60) });
  return say("duration.hours", { n: (s / 3600).toFixed(1) });
}

/** Confidence 1 - alpha in per cent, without trailing zeros. @param {number} alpha */
export function confidence(alpha) {
  return `${Number((100 * (1 - alpha)).toFixed(10))} %`;
}

/** The time of day for today, otherwise with the date. @param {string} iso */
export function when(iso) {
  const date = new Date(iso);
  const day = date.toDateString() === new Date().toDateString() ? {} : { dateStyle: "medium" };
  return date.toLocaleString(language === "en" ? "en-GB" : language, { timeStyle: "short", .../** @type {any} */ (day) });
}

/** What a certificate can cover, the widest first. */
export const SCOPES = ["global_prompt", "frozen_prompt", "routed_pipeline"];

/** @param {{prompting: string, prompt?: {id: string}}} target */
export function targetName(target) {
  const words = sayName("prompting", target.prompting);
  return target.prompting === "few-shot" && target.prompt ? `${words} ${target.prompt.id}` : words;
}
