// Certified accuracy by row and radius, with its interval over images.

import { h } from "../elements/dom.js";
import { percent } from "../elements/words.js";
import { say } from "../strings/say.js";

/** @param {any[]} rows the table of an evaluation */
export function accuracyTable(rows) {
  const radii = rows[0].at_radius.map((/** @type {any} */ at) => at.radius);
  const reached = radii.filter((/** @type {number} */ _, /** @type {number} */ i) => i === 0 || rows.some((row) => row.at_radius[i].accuracy.right > 0));
  const heading = (/** @type {string} */ text) => h("th", { scope: "col", class: "number" }, text);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": say("evaluation.accuracy") },
    h(
      "table",
      { class: "rows" },
      h("caption", { class: "sr" }, say("evaluation.accuracy_caption")),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, say("column.wording")), heading("σ"), heading(say("evaluation.abstained")), heading(say("evaluation.wrong")), ...reached.map((/** @type {number} */ r) => heading(`r ≥ ${r}`)))),
      h("tbody", {}, ...rows.map((row) => tableRow(row, reached.length))),
    ),
  );
}

/** @param {any} row @param {number} shown */
function tableRow(row, shown) {
  const number = (/** @type {any} */ value, /** @type {string} */ title = "") => h("td", { class: "number", title }, value);
  const share = (/** @type {any} */ { accuracy }) => number(percent(accuracy.share), say("evaluation.interval", { low: percent(accuracy.low), high: percent(accuracy.high) }));
  return h("tr", {}, h("th", { scope: "row" }, row.label), number(row.sigma), number(row.abstained), number(row.wrong), ...row.at_radius.slice(0, shown).map(share));
}
