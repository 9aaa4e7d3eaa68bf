// Several wordings beside one another: one row each, one column for each noise level.

import { h } from "../elements/dom.js";
import { length, SCOPES, targetName } from "../elements/words.js";
import { say, sayName } from "../strings/say.js";
import { goalTag } from "./goal.js";
import { largest } from "./targets.js";
import { mark, outsideHint } from "./verdict.js";

/** @param {any} found @param {any[][]} targets two or more @returns {HTMLElement} */
export function comparison(found, targets) {
  const certified = found.certificates.filter((/** @type {any} */ c) => c.outcome === "certified");
  const classes = new Set(certified.map((/** @type {any} */ c) => c.prediction));
  const sigmas = [...new Set(found.certificates.map((/** @type {any} */ c) => c.sigma))].sort((a, b) => a - b);
  return h(
    "section",
    { class: `card verdict ${classes.size === 1 ? "certified" : "abstained"}` },
    h("p", { class: "badge" }, ...badge(classes.size)),
    h("p", { class: `prediction ${classes.size === 1 ? "" : "long"}` }, headline(classes)),
    h("p", { class: "claim" }, claim(found.certificates, certified, classes)),
    certified.length > 0 && outsideHint(found.certificates),
    table(found, targets, sigmas),
    scopeNotes(targets),
  );
}

/** @param {number} classes how many are claimed */
function badge(classes) {
  if (classes > 1) return [say("verdict.contradictory")];
  return classes ? [mark("certified"), say("common.certified")] : [mark("abstained"), say("common.abstained")];
}

/** @param {Set<string>} classes */
function headline(classes) {
  if (classes.size > 1) return say("comparison.contradictory");
  return classes.size ? [...classes][0] : say("verdict.no_claim");
}

/** @param {any[]} all @param {any[]} certified @param {Set<string>} classes */
function claim(all, certified, classes) {
  if (!certified.length) return say("comparison.abstained");
  if (classes.size > 1) return say("comparison.contradictory_text");
  const best = largest(all);
  return say("comparison.claim", { certified: certified.length, certificates: say("count.certificate", { n: all.length }), radius: length(best.radius), sigma: best.sigma, wording: targetName(best) });
}

/** @param {any} found @param {any[][]} targets @param {number[]} sigmas */
function table(found, targets, sigmas) {
  const columns = sigmas.map((sigma) => mergeColumn(targets.map((target) => target.find((c) => c.sigma === sigma) ?? null)));
  const sentence = targets.find(([first]) => first.prompting === "template") ?? null;
  const rows = targets.map((target, row) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, targetName(target[0])),
      ...columns.map((cells) => cells[row] && h("td", { rowspan: cells[row].rows }, ...outcome(cells[row], found, sentence === target ? null : sentence))),
    ),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": say("comparison.table") },
    h("table", { class: "rows compared" }, h("caption", { class: "sr" }, say("comparison.caption")), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, say("column.wording")), ...sigmas.map((s) => h("th", { scope: "col" }, `σ ${s}`)))), h("tbody", {}, ...rows)),
  );
}

/**
 * Neighbours with the same class and radius share a cell.
 * @param {any[]} column certificates of one noise level, by wording
 * @returns {({certificate: any, rows: number} | null)[]} null: the cell above reaches down to here
 */
function mergeColumn(column) {
  /** @type {({certificate: any, rows: number} | null)[]} */
  const cells = [];
  let open = /** @type {{certificate: any, rows: number} | null} */ (null);
  for (const certificate of column) {
    if (open && same(open.certificate, certificate)) {
      open.rows += 1;
      cells.push(null);
    } else cells.push((open = { certificate, rows: 1 }));
  }
  return cells;
}

/** @param {any} one @param {any} other */
function same(one, other) {
  return one !== null && other !== null && one.outcome === other.outcome && one.prediction === other.prediction && one.radius === other.radius;
}

/** @param {{certificate: any, rows: number}} cell @param {any} found @param {any[] | null} sentence */
function outcome({ certificate, rows }, found, sentence) {
  if (certificate === null) return ["–"];
  const claims = certificate.outcome === "certified";
  const reached = found.goal?.reached[found.certificates.indexOf(certificate)];
  return [
    h("span", { class: "outcome-line" }, mark(certificate.outcome), claims ? certificate.prediction : say("outcome.abstained")),
    claims && h("strong", { class: "figure" }, length(certificate.radius)),
    rows === 1 && difference(certificate, sentence?.find((c) => c.sigma === certificate.sigma)),
    found.goal && goalTag(reached),
  ];
}

/** How much further than the sentence. @param {any} certificate @param {any} sentence */
function difference(certificate, sentence) {
  if (!sentence || certificate.outcome !== "certified" || sentence.outcome !== "certified" || sentence.prediction !== certificate.prediction) return null;
  const more = Number(length(certificate.radius)) - Number(length(sentence.radius));
  return h("span", { class: "hint" }, say("comparison.difference", { sign: more < 0 ? "−" : "+", more: Math.abs(more).toFixed(3) }));
}

/** What each wording covers, where that is not everything. @param {any[][]} targets */
function scopeNotes(targets) {
  const groups = SCOPES.map((scope) => ({ scope, names: targets.filter(([first]) => first.guarantee_scope === scope).map(([first]) => targetName(first)) }));
  return h("ul", { class: "plain hint scopes" }, ...groups.filter(({ names }) => names.length).map(({ scope, names }) => h("li", {}, `${names.join(", ")}: ${sayName("scope", scope)}`)));
}
