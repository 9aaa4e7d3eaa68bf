// Votes on noisy copies as bars, with the bounds on each class's probability.

import { h, svg } from "../elements/dom.js";
import { percent } from "../elements/words.js";
import { say } from "../strings/say.js";

const SHOWN = 8;

/**
 * A table with drawn bars. The number of rows is fixed, so that nothing moves while votes come in. If
 * there are many classes, it shows those with the most votes, and the rest together.
 * @param {{classNames: string[], counts: number[], ambiguous: number, topIndex: number,
 *   pALower: number, pBUpper: number, caption: string, claimed: boolean}} votes
 */
export function votesChart(votes) {
  const rows = chooseRows(votes).map((row) => voteRow(row, totalOf(votes), votes));
  return h(
    "table",
    { class: "votes" },
    h("caption", {}, votes.caption),
    ...heads(say("column.class")),
    h("tbody", {}, ...rows),
  );
}

/**
 * The votes of several wordings on one axis: a group for each class, and in it a bar for each wording.
 * @param {string[]} classNames @param {any[]} series votes as `votesChart` takes them, each with a name
 * @param {string} caption
 */
export function comparedChart(classNames, series, caption) {
  const group = (/** @type {string} */ name, /** @type {number} */ index) =>
    h(
      "tbody",
      {},
      h("tr", { class: "class-row" }, h("th", { scope: "rowgroup", colspan: 3 }, name)),
      ...series.map((votes) => voteRow({ name: votes.name, n: votes.counts[index], index }, totalOf(votes), votes)),
    );
  return h("table", { class: "votes compared-votes" }, h("caption", {}, caption), ...heads(say("column.wording")), ...classNames.map(group));
}

/** @param {any} votes */
function totalOf({ counts, ambiguous }) {
  return Math.max(1, counts.reduce((/** @type {number} */ sum, /** @type {number} */ n) => sum + n, 0) + ambiguous);
}

/** The columns, and their names for who cannot see them. @param {string} first */
function heads(first) {
  return [
    h("colgroup", {}, h("col", { class: "names" }), h("col"), h("col", { class: "figures-column" })),
    h("thead", { class: "sr" }, h("tr", {}, ...[first, say("votes.votes"), say("votes.share")].map((t) => h("th", { scope: "col" }, t)))),
  ];
}

/**
 * @param {{classNames: string[], counts: number[], ambiguous: number, topIndex: number}} votes
 * @returns {{name: string, n: number, index: number}[]}
 */
function chooseRows({ classNames, counts, ambiguous, topIndex }) {
  const all = classNames.map((name, index) => ({ name, n: counts[index] ?? 0, index }));
  const extra = ambiguous ? [{ name: say("votes.undecided"), n: ambiguous, index: -1 }] : [];
  if (all.length <= SHOWN) return [...all, ...extra];
  const most = [...all].sort((a, b) => Number(b.index === topIndex) - Number(a.index === topIndex) || b.n - a.n).slice(0, SHOWN - 1);
  const rest = all.filter((row) => !most.includes(row));
  const others = rest.reduce((sum, row) => sum + row.n, 0);
  return [...most, { name: say("votes.others", { n: rest.length }), n: others, index: -2 }, ...extra];
}

/** @param {{name: string, n: number, index: number}} row @param {number} total @param {any} votes */
function voteRow(row, total, votes) {
  const top = row.index === votes.topIndex;
  const bound = top ? votes.pALower : votes.pBUpper;
  const voted = votes.counts.some((/** @type {number} */ n) => n > 0);
  const known = row.index >= 0 && voted;
  const words = top ? say("votes.at_least", { share: percent(floor(bound)) }) : say("votes.at_most", { share: percent(ceil(bound)) });
  const kind = !top ? "other" : votes.claimed ? "winner" : "leading";
  return h(
    "tr",
    { class: kind },
    h("th", { scope: "row" }, row.name),
    h("td", { class: "bar" }, bar(row.n / total, known ? bound : null)),
    h(
      "td",
      { class: "figures" },
      h("span", { title: say("votes.of_total", { n: row.n, total }) }, voted ? percent(row.n / total) : "–"),
      h("span", { class: "bound" }, known ? words : ""),
    ),
  );
}

/** Rounds a lower bound down, so that it never overstates. @param {number} p */
function floor(p) {
  return Math.floor(p * 1000) / 1000;
}

/** @param {number} p */
function ceil(p) {
  return Math.ceil(p * 1000) / 1000;
}

/** @param {number} share @param {number | null} bound */
function bar(share, bound) {
  const at = bound === null ? "0" : `${100 * bound}%`;
  return svg(
    "svg",
    { class: "votes-bar", "aria-hidden": "true", focusable: "false" },
    svg("rect", { class: "track", width: "100%", height: "100%", rx: 3 }),
    svg("rect", { class: "share", width: `${100 * share}%`, height: "100%", rx: 3 }),
    bound !== null && svg("line", { class: "bound-mark", x1: at, x2: at, y1: "0", y2: "100%" }),
  );
}
