// Numbers and terms as people read them.

const whole = new Intl.NumberFormat("en");

/** 12345 as 12,345. @param {number} n */
export function count(n) {
  return whole.format(n);
}

/** A radius, never rounded up: 0.551203 as 0.551. @param {number} radius */
export function length(radius) {
  return (Math.floor(radius * 1000 + 1e-9) / 1000).toFixed(3);
}

/** A share as a percentage with one decimal. A share between 0 and 1 never reads 0 % or 100 %. @param {number} p */
export function percent(p) {
  if (p > 0 && p < 0.0005) return "< 0.1 %";
  if (p < 1 && p >= 0.9995) return "> 99.9 %";
  return `${(100 * p).toFixed(1)} %`;
}

/** A duration in everyday words. @param {number} s */
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

/** Confidence 1 - alpha in per cent, without trailing zeros. @param {number} alpha */
export function confidence(alpha) {
  return `${Number((100 * (1 - alpha)).toFixed(10))} %`;
}

/** The time of day for today, otherwise with the date. @param {string} iso */
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
  global_prompt: "Covers every step from this image to the answer.",
  frozen_prompt: "Covers this one frozen prompt, which depended on an image, but not tuning or learning it again.",
  routed_pipeline: "Also covers the choice of the prompt.",
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
