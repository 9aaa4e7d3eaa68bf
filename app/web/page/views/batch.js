// Images that were sent together: one row per certificate, to sort and to download.

import { goalTag, goalWord } from "../answer/goal.js";
import { mark } from "../answer/verdict.js";
import { h, show } from "../elements/dom.js";
import { download } from "../elements/picture.js";
import { sortableTable } from "../elements/table.js";
import { showTrouble } from "../elements/trouble.js";
import { length, targetName } from "../elements/words.js";
import { watchUntil } from "../service/follow.js";
import { ask, getJson } from "../service/http.js";
import { batchFileName, fileName } from "../service/memory.js";
import { count, say, sayName } from "../strings/say.js";

const POLL_MS = 1500;

/** @param {HTMLElement} main @param {string} id @param {AbortSignal} signal */
export async function open(main, id, signal) {
  const batch = await getJson(`batches/${id}`, signal);
  const table = sortableTable(say("batch.caption"), COLUMNS);
  const done = h("p", { role: "status", class: "facts" });
  const goal = h("p", { role: "status", class: "headline" });
  const bar = h("progress", { max: batch.total, "aria-label": say("batch.bar") });
  const csv = h("button", { type: "button", click: () => download(new Blob([table.csv()], { type: "text/csv" }), `batch-${id.slice(0, 8)}.csv`) }, say("batch.csv"));
  const trouble = h("p", { class: "trouble", role: "alert" });
  const cancel = cancelButton(id, trouble);
  show(main, h("div", { class: "page-head" }, h("h1", {}, say("count.image", { n: batch.total })), done, goal), h("section", { class: "card" }, bar, table.element, h("div", { class: "actions" }, csv, cancel), trouble));
  let shown = "";
  const draw = (/** @type {any} */ now) => {
    bar.value = now.done;
    done.textContent = doneWords(now);
    const answered = goalWords(now);
    if (goal.textContent !== answered) goal.textContent = answered;
    cancel.hidden = isOver(now);
    const state = now.certifications.map((/** @type {any} */ c) => `${c.status}${c.progress?.samples_done ?? ""}`).join();
    if (state === shown) return;
    shown = state;
    table.setRows(rowsOf(now));
  };
  draw(batch);
  if (isOver(batch)) return;
  watchUntil(`batches/${id}`, isOver, draw, POLL_MS, signal).catch((error) => showTrouble(main, error, signal));
}

/** @param {any} batch */
function doneWords({ done, total, refused }) {
  const unusable = refused.length ? say("batch.unusable", { n: refused.length }) : "";
  return say("batch.finished", { done: done - refused.length, images: say("count.image", { n: total }) }) + unusable;
}

/** How many images are answered with yes, once some are. @param {any} batch */
function goalWords({ certifications }) {
  const answered = certifications.map((/** @type {any} */ c) => c.goal).filter(Boolean);
  if (!answered.length) return "";
  const shown = answered.filter((/** @type {any} */ goal) => goal.shown).length;
  return say("batch.goal", { radius: answered[0].radius, yes: shown, n: answered.length, not: answered.length - shown });
}

/** @param {string} id @param {HTMLElement} trouble */
function cancelButton(id, trouble) {
  const button = h("button", { type: "button" }, say("batch.cancel"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await ask("DELETE", `batches/${id}?only=cancel`);
    } catch (error) {
      button.disabled = false;
      trouble.textContent = say("common.not_cancelled", { reason: /** @type {Error} */ (error).message });
    }
  });
  return button;
}

/** @param {any} batch */
function isOver({ done, total }) {
  return done === total;
}

/** One row per certificate, or per image without certificates, in image order.
 * @param {any} batch */
function rowsOf(batch) {
  const rows = batch.certifications.flatMap((/** @type {any} */ one) => {
    const index = one.image_index;
    const image = { id: one.id, index, name: fileName(one.id) || numbered(index), status: one.status, input: one.input, reference: one.reference, progress: one.progress };
    if (one.status !== "finished") return [{ ...image, problem: one.failure }];
    return one.certificates.map((/** @type {any} */ certificate, /** @type {number} */ i) => ({ ...image, certificate, reached: one.goal?.reached[i] ?? null }));
  });
  const refused = batch.refused.map((/** @type {any} */ problem) => ({
    index: problem.image_index,
    name: batchFileName(batch.id, problem.image_index) || numbered(problem.image_index),
    status: "refused",
    problem,
  }));
  return [...rows, ...refused].sort((a, b) => a.index - b.index);
}

/** @param {number} index from 0 */
function numbered(index) {
  return say("batch.numbered", { number: index + 1 });
}

/** @type {import("../elements/table.js").Column[]} */
const COLUMNS = [
  { name: say("column.image"), value: (r) => r.name, cell: (r) => (r.id ? h("a", { href: `#/certifications/${r.id}` }, r.name) : r.name) },
  { name: say("column.reference"), optional: true, value: (r) => r.reference ?? null },
  { name: say("column.outcome"), value: (r) => r.certificate?.outcome ?? r.status, cell: outcomeCell },
  { name: say("column.prediction"), value: (r) => r.certificate?.prediction ?? null, cell: predictionCell },
  { name: say("column.sigma"), numeric: true, value: (r) => r.certificate?.sigma ?? null },
  { name: say("column.radius"), numeric: true, value: (r) => r.certificate?.radius ?? null, cell: (r) => (r.certificate?.outcome === "certified" ? length(r.certificate.radius) : "–") },
  { name: say("column.reaches_goal"), optional: true, value: (r) => (r.reached === null || r.reached === undefined ? null : goalWord(r.reached)), cell: (r) => (typeof r.reached === "boolean" ? goalTag(r.reached) : "–") },
  { name: say("column.wording"), value: (r) => (r.certificate ? targetName(r.certificate) : null) },
  { name: say("column.samples"), numeric: true, value: (r) => r.certificate?.n_used ?? null },
  { name: say("column.alpha"), kept: true, value: (r) => r.certificate?.alpha ?? null },
  { name: say("column.p_a_lower"), kept: true, value: (r) => r.certificate?.p_a_lower ?? null },
  { name: say("column.p_b_upper"), kept: true, value: (r) => r.certificate?.p_b_upper ?? null },
  { name: say("column.covers"), kept: true, value: (r) => r.certificate?.guarantee_scope ?? null },
  { name: say("column.problem"), kept: true, value: (r) => r.problem?.detail ?? null },
  { name: say("column.sha256"), kept: true, value: (r) => r.input?.sha256 ?? null },
  { name: say("column.certification"), kept: true, value: (r) => r.id ?? null },
];

/** @param {any} row */
function predictionCell(row) {
  if (row.problem) return h("span", { class: "problem" }, row.problem.detail);
  return row.certificate?.prediction ?? "–";
}

/** @param {any} row */
function outcomeCell(row) {
  if (row.status === "running" && row.progress?.samples_total) return h("progress", { max: row.progress.samples_total, value: row.progress.samples_done, "aria-label": say("batch.copies_of", { name: row.name }) });
  const kind = row.certificate?.outcome;
  return h("span", { class: `tag ${kind ?? row.status}` }, kind && mark(kind), kind ? sayName("outcome", kind) : sayName("status", row.status));
}
