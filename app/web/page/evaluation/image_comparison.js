// Two evaluations of the same images, compared one by one. Images are recognised by their integers.

import { h, show } from "../elements/dom.js";
import { field, select } from "../elements/fields.js";
import { sortableTable } from "../elements/table.js";
import { length, when } from "../elements/words.js";
import { getJson } from "../service/http.js";
import { say } from "../strings/say.js";

/**
 * @param {any} found the evaluation that is shown @param {any[]} others the caller's other ones
 * @param {AbortSignal} signal
 */
export function imageComparison(found, others, signal) {
  const result = h("div");
  const chosen = select([["", say("evaluation.none")], [found.id, say("evaluation.itself")], ...others.map((one) => /** @type {[string, string]} */ ([one.id, `${one.dataset} ${one.split}, ${one.model.id}, ${when(one.submitted_at)}`]))]);
  const trouble = h("p", { class: "trouble", role: "alert" });
  chosen.addEventListener("change", async () => {
    trouble.textContent = "";
    show(result);
    if (!chosen.value) return;
    try {
      const [own, other] = await Promise.all([getJson(`evaluations/${found.id}/images`, signal), getJson(`evaluations/${chosen.value}/images`, signal)]);
      show(result, comparison(own, other));
    } catch (error) {
      if (!signal.aborted) trouble.textContent = /** @type {Error} */ (error).message;
    }
  });
  return h("section", { class: "card" }, h("h2", {}, say("evaluation.image_by_image")), h("div", { class: "filters" }, field(say("evaluation.compare_with"), "", chosen)), trouble, result);
}

/** @param {any} own @param {any} other */
function comparison(own, other) {
  const rowsOf = (/** @type {any} */ one) => select(one.rows.map((/** @type {any} */ row, /** @type {number} */ i) => [String(i), `${row.label}, σ ${row.sigma}`]));
  const left = rowsOf(own);
  const right = rowsOf(other);
  if (own.id === other.id && other.rows.length > 1) right.value = "1";
  const summary = h("p", { role: "status" });
  const table = sortableTable(say("evaluation.both"), columns());
  const draw = () => {
    const pairs = join(own, Number(left.value), other, Number(right.value));
    table.setRows(pairs);
    show(summary, describe(pairs));
  };
  for (const one of [left, right]) one.addEventListener("change", draw);
  draw();
  return h("div", {}, h("div", { class: "filters" }, field(say("evaluation.here"), "", left), field(say("evaluation.there"), "", right)), summary, table.element);
}

/** The images that both have, with what each says of them.
 * @param {any} own @param {number} left @param {any} other @param {number} right */
function join(own, left, other, right) {
  const there = new Map(other.images.filter((/** @type {any} */ one) => one.outcomes.length).map((/** @type {any} */ one) => [one.input_sha256, one]));
  return own.images
    .filter((/** @type {any} */ one) => one.outcomes.length && there.has(one.input_sha256))
    .map((/** @type {any} */ one) => ({ image: one, here: one.outcomes[left], there: there.get(one.input_sha256).outcomes[right] }));
}

/** @param {any[]} pairs */
function describe(pairs) {
  if (!pairs.length) return say("evaluation.nothing_in_common");
  const gained = pairs.filter((pair) => pair.here.right && !pair.there.right).length;
  const lost = pairs.filter((pair) => !pair.here.right && pair.there.right).length;
  const further = pairs.filter((pair) => reach(pair.here) > reach(pair.there)).length;
  const nearer = pairs.filter((pair) => reach(pair.here) < reach(pair.there)).length;
  return say("evaluation.compared", { images: say("count.image", { n: pairs.length }), gained, lost, further, nearer });
}

/** The radius within which the right class is certified; 0 if it is not. @param {any} outcome */
function reach(outcome) {
  return outcome.right ? outcome.radius : 0;
}

function columns() {
  const words = (/** @type {any} */ one) => (one.outcome === "abstained" ? say("evaluation.abstained") : one.right ? one.prediction : say("evaluation.wrong_class", { class: one.prediction }));
  const radius = (/** @type {any} */ one) => (one.radius === null ? null : Number(length(one.radius)));
  return [
    { name: say("column.image"), value: (/** @type {any} */ row) => row.image.file, cell: (/** @type {any} */ row) => (row.image.certification ? h("a", { href: `#/certifications/${row.image.certification}` }, row.image.file) : row.image.file) },
    { name: say("column.class"), value: (/** @type {any} */ row) => row.image.class_name },
    { name: say("evaluation.here"), value: (/** @type {any} */ row) => words(row.here) },
    { name: say("evaluation.radius_here"), numeric: true, value: (/** @type {any} */ row) => radius(row.here) },
    { name: say("evaluation.there"), value: (/** @type {any} */ row) => words(row.there) },
    { name: say("evaluation.radius_there"), numeric: true, value: (/** @type {any} */ row) => radius(row.there) },
    { name: say("evaluation.difference"), numeric: true, value: (/** @type {any} */ row) => Number((reach(row.here) - reach(row.there)).toFixed(3)) },
  ];
}
