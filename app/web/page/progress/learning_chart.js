// Loss and accuracy by epoch, each on its own scale.

import { h, svg } from "../elements/dom.js";
import { percent } from "../elements/words.js";
import { say } from "../strings/say.js";

const WIDTH = 480;
const HEIGHT = 90;

/** @param {{number: number, loss: number, accuracy: number}[]} curve @param {number} epochs */
export function learningChart(curve, epochs) {
  const last = curve[curve.length - 1];
  const most = Math.max(...curve.map((e) => e.loss), 1e-9);
  return h(
    "div",
    {},
    line(say("learning.loss"), curve.map((e) => e.loss / most), epochs, last ? last.loss.toFixed(3) : ""),
    line(say("learning.accuracy"), curve.map((e) => e.accuracy), epochs, last ? percent(last.accuracy) : ""),
  );
}

/** @param {string} name @param {number[]} values from 0 to 1 @param {number} epochs @param {string} now */
function line(name, values, epochs, now) {
  const x = (/** @type {number} */ i) => (epochs > 1 ? (i / (epochs - 1)) * WIDTH : 0);
  const path = values.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${((1 - v) * (HEIGHT - 8) + 4).toFixed(1)}`).join("");
  return h(
    "figure",
    { class: "curve" },
    h("figcaption", {}, name, h("strong", {}, now)),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": say("learning.curve", { name, now: now || say("learning.unknown") }) },
      svg("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 2, y2: HEIGHT - 2 }),
      svg("path", { class: "line", d: path }),
    ),
  );
}
