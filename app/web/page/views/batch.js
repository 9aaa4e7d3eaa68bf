// Images that were sent together: one row for each certificate, to sort and to take along.

import { mark } from "../answer/verdict.js";
import { h, show } from "../elements/dom.js";
import { download } from "../elements/picture.js";
import { sortableTable } from "../elements/table.js";
import { showTrouble } from "../elements/trouble.js";
import { count, length, plural, targetName } from "../elements/words.js";
import { wait } from "../service/follow.js";
import { ask, getJson, Problem } from "../service/http.js";
import { batchFileName, fileName } from "../service/memory.js";

const POLL_MS = 1500;

/** @param {HTMLElement} main @param {string} id @param {AbortSignal} signal */
export async function open(main, id, signal) {
  const batch = await getJson(`batches/${id}`, signal);
  const table = sortableTable("Certificates of this batch", COLUMNS);
  const done = h("p", { role: "status", class: "facts" });
  const bar = h("progress", { max: batch.total, "aria-label": "Images finished" });
  const csv = h("button", { type: "button", click: () => download(new Blob([table.csv()], { type: "text/csv" }), `batch-${id.slice(0, 8)}.csv`) }, "Download as CSV");
  const trouble = h("p", { class: "trouble", role: "alert" });
  const cancel = cancelButton(id, trouble);
  show(main, h("div", { class: "page-head" }, h("h1", {}, plural(batch.total, "image")), done), h("section", { class: "card" }, bar, table.element, h("div", { class: "actions" }, csv, cancel), trouble));
  let shown = "";
  const draw = (/** @type {any} */ now) => {
    bar.value = now.done;
    done.textContent = doneWords(now);
    cancel.hidden = now.done === now.total;
    const state = now.certifications.map((/** @type {any} */ c) => c.status).join();
    if (state === shown) return;
    shown = state;
    table.setRows(rowsOf(now));
  };
  draw(batch);
  watch(batch, draw, signal).catch((error) => showTrouble(main, error, signal));
}

/** @param {any} batch */
function doneWords({ done, total, refused }) {
  const unusable = refused.length ? `, ${count(refused.length)} could not be used` : "";
  return `${count(done - refused.length)} of ${plural(total, "image")} finished${unusable}`;
}

/** @param {string} id @param {HTMLElement} trouble */
function cancelButton(id, trouble) {
  const button = h("button", { type: "button" }, "Cancel the rest");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await ask("DELETE", `batches/${id}`);
    } catch (error) {
      button.disabled = false;
      trouble.textContent = `It could not be cancelled. ${/** @type {Error} */ (error).message}`;
    }
  });
  return button;
}

/** @param {any} batch @param {(batch: any) => void} draw @param {AbortSignal} signal */
async function watch(batch, draw, signal) {
  while (batch.done < batch.total) {
    await wait(POLL_MS, signal);
    batch = (await lookAgain(batch.id, signal)) ?? batch;
    draw(batch);
  }
}

/** @param {string} id @param {AbortSignal} signal @returns {Promise<any>} or null while it is away */
async function lookAgain(id, signal) {
  try {
    return await getJson(`batches/${id}`, signal);
  } catch (error) {
    if (error instanceof Problem && error.passes) return null;
    throw error;
  }
}

/** One row for each certificate, else for each image, in the order of the images.
 * @param {any} batch */
function rowsOf(batch) {
  const rows = batch.certifications.flatMap((/** @type {any} */ one) => {
    const index = one.image_index;
    const image = { id: one.id, index, name: fileName(one.id) || numbered(index), status: one.status, input: one.input };
    if (one.status !== "finished") return [{ ...image, problem: one.failure }];
    return one.certificates.map((/** @type {any} */ certificate) => ({ ...image, certificate }));
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
  return `image ${index + 1}`;
}

/** @type {import("../elements/table.js").Column[]} */
const COLUMNS = [
  { name: "Image", value: (r) => r.name, cell: (r) => (r.id ? h("a", { href: `#/certifications/${r.id}` }, r.name) : r.name) },
  { name: "Outcome", value: (r) => r.certificate?.outcome ?? r.status, cell: outcomeCell },
  { name: "Prediction", value: (r) => r.certificate?.prediction ?? null, cell: predictionCell },
  { name: "Noise σ", numeric: true, value: (r) => r.certificate?.sigma ?? null },
  { name: "Radius", numeric: true, value: (r) => r.certificate?.radius ?? null, cell: (r) => (r.certificate?.outcome === "certified" ? length(r.certificate.radius) : "–") },
  { name: "Wording", value: (r) => (r.certificate ? targetName(r.certificate) : null) },
  { name: "Samples", numeric: true, value: (r) => r.certificate?.n_used ?? null },
  { name: "Alpha", kept: true, value: (r) => r.certificate?.alpha ?? null },
  { name: "Top class, at least", kept: true, value: (r) => r.certificate?.p_a_lower ?? null },
  { name: "Others, at most", kept: true, value: (r) => r.certificate?.p_b_upper ?? null },
  { name: "Covers", kept: true, value: (r) => r.certificate?.guarantee_scope ?? null },
  { name: "Problem", kept: true, value: (r) => r.problem?.detail ?? null },
  { name: "Image SHA-256", kept: true, value: (r) => r.input?.sha256 ?? null },
  { name: "Certification", kept: true, value: (r) => r.id ?? null },
];

/** @param {any} row */
function predictionCell(row) {
  if (row.problem) return h("span", { class: "problem" }, row.problem.detail);
  return row.certificate?.prediction ?? "–";
}

/** @param {any} row */
function outcomeCell(row) {
  const kind = row.certificate?.outcome;
  return h("span", { class: `tag ${kind ?? row.status}` }, kind && mark(kind), kind ?? row.status);
}
