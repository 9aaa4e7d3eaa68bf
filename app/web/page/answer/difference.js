// Two pictures of the same size: a slow fade from one to the other, and their difference magnified.

import { freshId, h, show } from "../elements/dom.js";
import { field } from "../elements/fields.js";
import { say } from "../strings/say.js";

/** @typedef {import("./tampering.js").Pixels} Pixels */

const FADE_MS = 6000; // there and back in twice that: nothing flashes (WCAG 2.3.1)
const MOST_DOUBLINGS = 6;
const USUAL_DOUBLINGS = 4;
const MIDDLE = 128;

/** @param {AbortSignal} signal @returns {{element: HTMLElement, show: (before: Pixels, after: Pixels, title: string, detail: string) => void}} */
export function differenceViewer(signal) {
  const layers = [h("canvas", { role: "img", "aria-label": say("picture.certified") }), h("canvas", {})];
  const difference = h("canvas", {});
  const fade = h("input", { type: "range", min: 0, max: 100, step: 1, value: 0 });
  const doublings = h("input", { type: "range", min: 0, max: MOST_DOUBLINGS, step: 1, value: USUAL_DOUBLINGS });
  const caption = h("figcaption", { id: freshId("fade") });
  const legend = h("figcaption", { id: freshId("difference") });
  const said = h("p", { class: "hint", role: "status" });
  const state = { before: /** @type {Pixels | null} */ (null), after: /** @type {Pixels | null} */ (null), title: "" };
  layers[1].setAttribute("role", "img");
  layers[1].setAttribute("aria-labelledby", caption.id);
  difference.setAttribute("role", "img");
  difference.setAttribute("aria-labelledby", legend.id);
  const mix = () => {
    layers[1].style.opacity = String(Number(fade.value) / 100);
    const words = fade.value === "0" ? say("difference.none") : fade.value === "100" ? say("difference.all") : say("difference.part", { percent: fade.value });
    fade.setAttribute("aria-valuetext", words);
    show(caption, h("strong", {}, state.title), ` ${words}`);
  };
  const magnify = () => {
    if (!state.before || !state.after) return;
    const times = 2 ** Number(doublings.value);
    doublings.setAttribute("aria-valuetext", say("difference.times", { n: times }));
    paint(difference, subtract(state.before, state.after, times));
    show(legend, h("strong", {}, say("difference.title", { n: times })), ` ${say("difference.legend")}`);
  };
  fade.addEventListener("input", mix);
  doublings.addEventListener("input", magnify);
  const play = playButton(fade, mix, signal);
  const element = h(
    "div",
    { class: "difference" },
    said,
    h("figure", {}, h("div", { class: "picture" }, ...layers), caption, h("div", { class: "row add" }, field(say("difference.fade"), "", fade), play)),
    h("figure", {}, h("div", { class: "picture" }, difference), legend, field(say("difference.magnify"), "", doublings)),
  );
  return {
    element,
    show: (before, after, title, detail) => {
      Object.assign(state, { before, after, title });
      paint(layers[0], before);
      paint(layers[1], after);
      fade.value = "0";
      mix();
      magnify();
      said.textContent = `${title}. ${detail} ${describe(before, after)}`;
    },
  };
}

/** Fades there and back, slowly, until it is stopped. Nobody who asked for less motion is offered it.
 * @param {HTMLInputElement} fade @param {() => void} mix @param {AbortSignal} signal */
function playButton(fade, mix, signal) {
  const button = h("button", { type: "button", "aria-pressed": "false" }, say("difference.play"));
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) button.hidden = true;
  let from = 0;
  let running = 0;
  const step = (/** @type {number} */ now) => {
    from ||= now;
    const turns = (now - from) / FADE_MS;
    fade.value = String(Math.round(100 * (1 - Math.abs((turns % 2) - 1))));
    mix();
    running = requestAnimationFrame(step);
  };
  const stop = () => {
    cancelAnimationFrame(running);
    running = from = 0;
    button.setAttribute("aria-pressed", "false");
    button.textContent = say("difference.play");
  };
  button.addEventListener("click", () => {
    if (running) return stop();
    button.setAttribute("aria-pressed", "true");
    button.textContent = say("difference.stop");
    running = requestAnimationFrame(step);
  });
  fade.addEventListener("input", stop);
  signal.addEventListener("abort", stop);
  return button;
}

/** @param {HTMLCanvasElement} canvas @param {Pixels} pixels */
function paint(canvas, { data, width, height }) {
  Object.assign(canvas, { width, height });
  canvas.getContext("2d")?.putImageData(new ImageData(/** @type {any} */ (data), width, height), 0, 0);
}

/** @param {Pixels} before @param {Pixels} after @param {number} times @returns {Pixels} */
function subtract(before, after, times) {
  const data = before.data.map((value, i) => (i % 4 === 3 ? 255 : MIDDLE + times * (after.data[i] - value))); // clamped by its type
  return { data, width: before.width, height: before.height };
}

/** @param {Pixels} before @param {Pixels} after */
function describe(before, after) {
  const pixels = before.width * before.height;
  let [changed, most] = [0, 0];
  for (let pixel = 0; pixel < pixels; pixel++) {
    const steps = [0, 1, 2].map((channel) => Math.abs(after.data[4 * pixel + channel] - before.data[4 * pixel + channel]));
    changed += Number(steps.some((step) => step > 0));
    most = Math.max(most, ...steps);
  }
  if (!changed) return say("difference.same");
  return say("difference.described", { changed, pixels, most });
}
