// Certified accuracy against radius, a chart for each noise level and a step line for each wording.
// A line is exact at every radius: it falls at the radius of each image that is certified right.

import { h, svg } from "../elements/dom.js";
import { length, percent } from "../elements/words.js";
import { say } from "../strings/say.js";

const WIDTH = 460;
const HEIGHT = 240;
const SIDE = { left: 52, right: 14, top: 12, bottom: 44 };
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2", "1 4"];

/** @param {any[]} rows the table of an evaluation */
export function curves(rows) {
  const sigmas = [...new Set(rows.map((row) => row.sigma))];
  const furthest = Math.max(...rows.map((row) => row.right_radii.at(-1) ?? 0)) || 1;
  const labels = [...new Set(rows.map((row) => row.label))];
  return h(
    "div",
    { class: "accuracy-curves" },
    h("div", { class: "panels" }, ...sigmas.map((sigma) => panel(sigma, rows.filter((row) => row.sigma === sigma), labels, furthest))),
    labels.length > 1 && legend(labels),
  );
}

/** @param {number} sigma @param {any[]} rows @param {string[]} labels @param {number} furthest */
function panel(sigma, rows, labels, furthest) {
  const floor = HEIGHT - SIDE.bottom;
  const x = (/** @type {number} */ radius) => SIDE.left + (radius / furthest) * (WIDTH - SIDE.left - SIDE.right);
  const y = (/** @type {number} */ share) => floor - share * (floor - SIDE.top);
  return h(
    "figure",
    {},
    h("figcaption", {}, say("evaluation.panel", { sigma: String(sigma), images: say("count.image", { n: rows[0].images }) })),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": describe(sigma, rows) },
      ...[0, 0.25, 0.5, 0.75, 1].map((share) => gridLine(share, y(share))),
      ...["start", "middle", "end"].map((anchor, i) => svg("text", { class: "tick", x: x((i / 2) * furthest), y: floor + 18, "text-anchor": anchor }, length((i / 2) * furthest))),
      svg("text", { class: "axis", x: WIDTH / 2, y: HEIGHT - 6, "text-anchor": "middle" }, say("column.radius")),
      ...rows.map((row) => {
        const index = labels.indexOf(row.label);
        return svg("g", { class: `series series-${index % 6}` }, svg("path", { class: "line", d: steps(row, x, y), "stroke-dasharray": DASHES[index % DASHES.length] }));
      }),
    ),
  );
}

/** The share of images that are right with at least each radius, from the largest share to 0.
 * @param {any} row @param {(radius: number) => number} x @param {(share: number) => number} y */
function steps(row, x, y) {
  const share = (/** @type {number} */ right) => y(right / row.images).toFixed(1);
  const right = row.right_radii.length;
  const path = row.right_radii.map((/** @type {number} */ radius, /** @type {number} */ i) => `H${x(radius).toFixed(1)}V${share(right - i - 1)}`);
  return `M${x(0)} ${share(right)}${path.join("")}`;
}

/** @param {number} share @param {number} y */
function gridLine(share, y) {
  return svg("g", {}, svg("line", { class: share ? "grid" : "base", x1: SIDE.left, x2: WIDTH - SIDE.right, y1: y, y2: y }), svg("text", { class: "tick", x: SIDE.left - 8, y: y + 4, "text-anchor": "end" }, `${100 * share} %`));
}

/** @param {number} sigma @param {any[]} rows */
function describe(sigma, rows) {
  const said = rows.map((row) => say("evaluation.curve", { row: row.label, share: percent(row.right_radii.length / row.images), radius: length(row.right_radii.at(-1) ?? 0) }));
  return say("evaluation.curves", { sigma: String(sigma), rows: said.join(" ") });
}

/** @param {string[]} labels */
function legend(labels) {
  const key = (/** @type {number} */ index) => svg("svg", { width: 30, height: 12, viewBox: "0 0 30 12", class: `series series-${index % 6}`, "aria-hidden": "true" }, svg("path", { class: "line", d: "M0 6H30", "stroke-dasharray": DASHES[index % DASHES.length] }));
  return h("ul", { class: "legend" }, ...labels.map((label, index) => h("li", {}, key(index), label)));
}
