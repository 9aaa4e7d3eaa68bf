// Radius against noise level. Abstentions have a lane of their own below the axis, because having no
// radius is not a radius of zero.

import { h, svg } from "../elements/dom.js";
import { length, targetName } from "../elements/words.js";
import { say } from "../strings/say.js";

/** @typedef {{sigma: number, radius: number | null, prediction: string}} Point */
/** @typedef {{name: string, points: Point[]}} Series */

const HEIGHT = 250;
const SIDE = { left: 64, right: 16, top: 26, bottom: 84 };

/**
 * @param {any[][]} targets certificates of each target, by noise level
 * @param {number} [goal] the radius that was asked about
 * @returns {HTMLElement} redrawn whenever its width changes
 */
export function radiusChart(targets, goal) {
  const series = targets.map((certificates) => ({
    name: targetName(certificates[0]),
    points: certificates.map((c) => ({
      sigma: c.sigma,
      radius: c.outcome === "certified" ? c.radius : null,
      prediction: c.prediction ?? "",
    })),
  }));
  const plot = h("div", { class: "radius-plot" });
  const figure = h("figure", { class: "radius-chart" }, plot, legend(series));
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width > 0) plot.replaceChildren(draw(series, width, goal));
  }).observe(plot);
  return figure;
}

/** @param {Series[]} series @param {number} [goal] */
function describe(series, goal) {
  const parts = series.map(({ name, points }) => {
    const said = points.map((p) => say(p.radius === null ? "chart.point_abstained" : "chart.point", { sigma: p.sigma, class: p.prediction, radius: length(p.radius ?? 0) }));
    return `${name}: ${said.join(", ")}`;
  });
  return [say("chart.title"), goal ? say("chart.goal", { goal }) : "", `${parts.join(". ")}.`].filter(Boolean).join(" ");
}

/** @param {Series[]} series @param {number} width @param {number} [goal] */
function draw(series, width, goal) {
  const sigmas = [...new Set(series.flatMap((s) => s.points.map((p) => p.sigma)))].sort((a, b) => a - b);
  const highest = Math.max(goal ?? 0, ...series.flatMap((s) => s.points.map((p) => p.radius ?? 0)));
  const steps = highest ? ticks(highest) : [0];
  const top = steps[steps.length - 1] || 1;
  const floor = HEIGHT - SIDE.bottom;
  const inner = width - SIDE.left - SIDE.right;
  const band = inner / sigmas.length;
  const every = Math.ceil(52 / band); // labels that would overlap are left out
  const x = (/** @type {number} */ sigma) => SIDE.left + band * (sigmas.indexOf(sigma) + 0.5);
  const y = (/** @type {number} */ radius) => floor - (radius / top) * (floor - SIDE.top);
  return svg(
    "svg",
    { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": describe(series, goal) },
    ...steps.map((step) => gridLine(step, y(step), width)),
    svg("rect", { class: "lane", x: SIDE.left, y: floor + 8, width: inner, height: 26, rx: 4 }),
    svg("text", { class: "lane-name", x: SIDE.left + 8, y: floor + 25 }, say("outcome.abstained")),
    ...sigmas.filter((_, i) => i % every === 0).map((sigma) => svg("text", { class: "tick", x: x(sigma), y: floor + 54, "text-anchor": "middle" }, `σ ${sigma}`)),
    svg("text", { class: "axis", x: SIDE.left + inner / 2, y: HEIGHT - 8, "text-anchor": "middle" }, say("chart.x")),
    svg("text", { class: "axis", transform: `translate(14 ${(floor + SIDE.top) / 2}) rotate(-90)`, "text-anchor": "middle" }, say("chart.y")),
    goal && goalLine(goal, y(goal), width),
    ...series.map((one, index) => drawSeries(one, index, series.length, x, y, floor, every === 1)),
  );
}

/** Three to six round steps from 0 to just above. @param {number} highest */
function ticks(highest) {
  const rough = highest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? rough;
  const n = Math.ceil(highest / step - 1e-9);
  return Array.from({ length: n + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

/** @param {number} step @param {number} y @param {number} width */
function gridLine(step, y, width) {
  return svg(
    "g",
    {},
    svg("line", { class: step === 0 ? "base" : "grid", x1: SIDE.left, x2: width - SIDE.right, y1: y, y2: y }),
    svg("text", { class: "tick", x: SIDE.left - 8, y: y + 4, "text-anchor": "end" }, step),
  );
}

/** @param {number} goal @param {number} y @param {number} width */
function goalLine(goal, y, width) {
  return svg(
    "g",
    { class: "goal-line" },
    svg("line", { x1: SIDE.left, x2: width - SIDE.right, y1: y, y2: y }),
    svg("text", { x: SIDE.left + 6, y: y - 6 }, say("chart.goal_line", { goal })),
  );
}

/**
 * @param {Series} one @param {number} index @param {number} of
 * @param {(sigma: number) => number} x @param {(radius: number) => number} y @param {number} floor
 * @param {boolean} roomy
 */
function drawSeries(one, index, of, x, y, floor, roomy) {
  const shift = (index - (of - 1) / 2) * Math.min(14, 60 / of);
  const differ = new Set(one.points.filter((p) => p.radius !== null).map((p) => p.prediction)).size > 1;
  const words = (/** @type {Point} */ p) => (of > 1 || !roomy ? "" : `${length(p.radius ?? 0)}${differ ? ` ${p.prediction}` : ""}`);
  const path = one.points.map((p, i) => (p.radius === null ? "" : `${joins(one.points[i - 1], p) ? "L" : "M"}${x(p.sigma) + shift} ${y(p.radius)}`)).join("");
  return svg(
    "g",
    { class: `series series-${index % 6}` },
    svg("path", { class: "line", d: path }),
    ...one.points.map((p) =>
      p.radius === null
        ? abstention(x(p.sigma) + shift, floor + 21)
        : point(x(p.sigma) + shift, y(p.radius), words(p), index),
    ),
  );
}

/** A line joins only neighbours that claim the same class. @param {Point | undefined} before @param {Point} here */
function joins(before, here) {
  return before !== undefined && before.radius !== null && before.prediction === here.prediction;
}

/** @param {number} x @param {number} y */
function abstention(x, y) {
  return svg("g", { class: "abstention" }, svg("circle", { cx: x, cy: y, r: 6 }), svg("line", { x1: x - 4.2, x2: x + 4.2, y1: y + 4.2, y2: y - 4.2 }));
}

/** @param {number} x @param {number} y @param {string} words @param {number} index */
function point(x, y, words, index) {
  const marks = [
    () => svg("circle", { cx: x, cy: y, r: 5.5 }),
    () => svg("rect", { x: x - 5, y: y - 5, width: 10, height: 10 }),
    () => svg("path", { d: `M${x} ${y - 6.5}L${x + 6} ${y + 5}H${x - 6}Z` }),
    () => svg("path", { d: `M${x} ${y - 7}L${x + 7} ${y}L${x} ${y + 7}L${x - 7} ${y}Z` }),
  ];
  return svg(
    "g",
    { class: "point" },
    marks[index % marks.length](),
    words && svg("text", { x, y: y - 11, "text-anchor": "middle" }, words),
  );
}

/** @param {Series[]} series */
function legend(series) {
  if (series.length < 2) return null;
  return h(
    "ul",
    { class: "legend" },
    ...series.map(({ name }, index) =>
      h(
        "li",
        {},
        svg("svg", { width: 20, height: 20, viewBox: "0 0 20 20", class: `series series-${index % 6}`, "aria-hidden": "true" }, point(10, 10, "", index)),
        name,
      ),
    ),
  );
}
