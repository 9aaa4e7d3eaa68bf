// Votes of noisy copies as bars, with what is known of each class's probability.

import { h, svg } from "../elements/dom.js";
import { count, percent } from "../elements/words.js";

const SHOWN = 8;

/**
 * A table whose bars are drawn: as many rows at every number of votes, so that nothing moves while
 * votes come in. With many classes, those with the most votes and the rest together.
 * @param {{classNames: string[], counts: number[], ambiguous: number, topIndex: number,
 *   pALower: number, pBUpper: number, caption: string, claimed: boolean}} votes
 */
export function votesChart(votes) {
  const total = Math.max(1, votes.counts.reduce((sum, n) => sum + n, 0) + votes.ambiguous);
  const rows = chooseRows(votes).map((row) => voteRow(row, total, votes));
  return h(
    "table",
    { class: "votes" },
    h("caption", {}, votes.caption),
    h("colgroup", {}, h("col", { class: "names" }), h("col"), h("col", { class: "figures-column" })),
    h(
      "thead",
      { class: "sr" },
      h("tr", {}, ...["Class", "Votes", "Share and bound"].map((t) => h("th", { scope: "col" }, t))),
    ),
    h("tbody", {}, ...rows),
  );
}

/**
 * @param {{classNames: string[], counts: number[], ambiguous: number, topIndex: number}} votes
 * @returns {{name: string, n: number, index: number}[]}
 */
function chooseRows({ classNames, counts, ambiguous, topIndex }) {
  const all = classNames.map((name, index) => ({ name, n: counts[index] ?? 0, index }));
  const extra = ambiguous ? [{ name: "undecided", n: ambiguous, index: -1 }] : [];
  if (all.length <= SHOWN) return [...all, ...extra];
  const most = [...all].sort((a, b) => Number(b.index === topIndex) - Number(a.index === topIndex) || b.n - a.n).slice(0, SHOWN - 1);
  const rest = all.filter((row) => !most.includes(row));
  const others = rest.reduce((sum, row) => sum + row.n, 0);
  return [...most, { name: `${rest.length} other classes`, n: others, index: -2 }, ...extra];
}

/** @param {{name: string, n: number, index: number}} row @param {number} total @param {any} votes */
function voteRow(row, total, votes) {
  const top = row.index === votes.topIndex;
  const bound = top ? votes.pALower : votes.pBUpper;
  const voted = votes.counts.some((/** @type {number} */ n) => n > 0);
  const known = row.index >= 0 && voted;
  const words = top ? `at least ${percent(floor(bound))}` : `at most ${percent(ceil(bound))}`;
  const kind = !top ? "other" : votes.claimed ? "winner" : "leading";
  return h(
    "tr",
    { class: kind },
    h("th", { scope: "row" }, row.name),
    h("td", { class: "bar" }, bar(row.n / total, known ? bound : null)),
    h(
      "td",
      { class: "figures" },
      h("span", { title: `${count(row.n)} of ${count(total)}` }, voted ? percent(row.n / total) : "–"),
      h("span", { class: "bound" }, known ? words : ""),
    ),
  );
}

/** Bounds are shown so that none overstates. @param {number} p */
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
