// Images that were sent together: one row for each certificate, to sort and to take along.

import { announce, h, show } from "./dom.js";
import { hasEnded, wait } from "./follow.js";
import { getJson, Problem } from "./http.js";
import { fileName } from "./memory.js";
import { download } from "./picture.js";
import { sortableTable } from "./table.js";
import { mark } from "./verdict.js";
import { length, plural, targetName } from "./words.js";

const POLL_MS = 1500;

/** @param {HTMLElement} main @param {string} id @param {AbortSignal} signal */
export async function open(main, id, signal) {
  let batch = await getJson(`batches/${id}`, signal);
  const table = sortableTable("Certificates of this batch", COLUMNS);
  const done = h("p", { role: "status", class: "facts" });
  const bar = h("progress", { max: batch.total, "aria-label": "Images finished" });
  const csv = h("button", { type: "button", click: () => download(new Blob([table.csv()], { type: "text/csv" }), `batch-${id.slice(0, 8)}.csv`) }, "Download as CSV");
  show(main, h("div", { class: "page-head" }, h("h1", {}, plural(batch.total, "image")), done), h("section", { class: "card" }, bar, table.element, h("div", { class: "actions" }, csv)));
  for (;;) {
    bar.value = batch.done;
    done.textContent = `${batch.done} of ${plural(batch.total, "image")} finished`;
    table.setRows(rowsOf(batch));
    if (batch.done === batch.total) return announce(`All ${batch.total} images are finished`);
    await wait(POLL_MS, signal);
    batch = (await lookAgain(id, signal)) ?? batch;
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

/** @param {any} batch */
function rowsOf(batch) {
  return batch.certifications.flatMap((/** @type {any} */ one, /** @type {number} */ index) => {
    const image = { id: one.id, index: index + 1, name: fileName(one.id) || `image ${index + 1}`, status: one.status };
    if (one.status !== "finished") return [{ ...image, ended: hasEnded(one) }];
    return one.certificates.map((/** @type {any} */ certificate) => ({ ...image, certificate }));
  });
}

/** @type {import("./table.js").Column[]} */
const COLUMNS = [
  { name: "Image", value: (r) => r.name, cell: (r) => h("a", { href: `#/certifications/${r.id}` }, r.name) },
  { name: "Outcome", value: (r) => r.certificate?.outcome ?? r.status, cell: outcomeCell },
  { name: "Prediction", value: (r) => r.certificate?.prediction ?? null, cell: (r) => r.certificate?.prediction ?? "–" },
  { name: "Noise σ", numeric: true, value: (r) => r.certificate?.sigma ?? null },
  { name: "Radius", numeric: true, value: (r) => r.certificate?.radius ?? null, cell: (r) => (r.certificate?.outcome === "certified" ? length(r.certificate.radius) : "–") },
  { name: "Wording", value: (r) => (r.certificate ? targetName(r.certificate) : null) },
  { name: "Samples", numeric: true, value: (r) => r.certificate?.n_used ?? null },
  { name: "Certification", value: (r) => r.id, cell: (r) => h("code", {}, r.id.slice(0, 8)) },
];

/** @param {any} row */
function outcomeCell(row) {
  const kind = row.certificate?.outcome;
  return h("span", { class: `tag ${kind ?? row.status}` }, kind && mark(kind), kind ?? row.status);
}
