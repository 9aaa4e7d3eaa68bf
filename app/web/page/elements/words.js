// Figures and terms as people read them.

const whole = new Intl.NumberFormat("en");

/** 12345 as 12,345. @param {number} n */
export function count(n) {
  return whole.format(n);
}

/** A radius, never rounded up: 0.551203 as 0.551. @param {number} radius */
export function length(radius) {
  return (Math.floor(radius * 1000 + 1e-9) / 1000).toFixed(3);
}

/** A share as a percentage with one decimal; what is neither none nor all never looks so. @param {number} p */
export function percent(p) {
  if (p > 0 && p < 0.0005) return "< 0.1 %";
  if (p < 1 && p >= 0.9995) return "> 99.9 %";
  return `${(100 * p).toFixed(1)} %`;
}

/** Seconds as people say them. @param {number} s */
export function duration(s) {
  if (s < 1.5) return "about a second";
  if (s < 90) return `about ${Math.ceil(s)} s`;
  if (s < 5400) return `about ${Math.round(s / 60)} min`;
  return `about ${(s / 3600).toFixed(1)} h`;
}

/** @param {number} n @param {string} one @param {string} [many] */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** Confidence 1 - alpha in per cent, as few digits as it has. @param {number} alpha */
export function confidence(alpha) {
  return `${Number((100 * (1 - alpha)).toFixed(10))} %`;
}

/** A time of today as a time, else as a date. @param {string} iso */
export function when(iso) {
  const date = new Date(iso);
  const day = date.toDateString() === new Date().toDateString() ? {} : { dateStyle: "medium" };
  return date.toLocaleString("en-GB", { timeStyle: "short", .../** @type {any} */ (day) });
}

/** @type {Record<string, string>} */
export const PROMPTINGS = {
  template: "sentence",
  "few-shot": "learned prompt",
  "zero-shot": "tuned on this image",
  "few-shot+zero-shot": "learned, then tuned on this image",
  routed: "chosen from a bank",
};

/** @type {Record<string, string>} */
export const SCOPES = {
  global_prompt: "Covers everything from this image on.",
  frozen_prompt: "Covers this prompt, tuned on this image and frozen; not tuning it again.",
  routed_pipeline: "Covers the choice of the prompt too.",
};

/** @type {Record<string, string>} */
export const STOPPED = {
  target_reached: "the radius asked for was reached",
  tolerance_reached: "more samples would have added little",
  futile: "the goal was out of reach",
  n_max_reached: "all samples were used",
  contradiction: "two looks disagreed",
  selector_abstained: "the choice of a prompt was not constant enough",
};

/** @param {{prompting: string, prompt?: {id: string}}} target */
export function targetName(target) {
  const words = PROMPTINGS[target.prompting] ?? target.prompting;
  return target.prompting === "few-shot" && target.prompt ? `${words} ${target.prompt.id}` : words;
}
