// What can be taken home: the certificate as JSON, and a page of paper.

import { h } from "../elements/dom.js";
import { download } from "../elements/picture.js";
import { getBlob } from "../service/http.js";

/** @param {any} found @param {AbortSignal} signal */
export function downloads(found, signal) {
  const trouble = h("p", { class: "trouble", role: "alert" });
  const stem = `certificate-${found.id.slice(0, 8)}`;
  const take = (/** @type {string} */ words, /** @type {string} */ path, /** @type {string} */ name) =>
    h("button", { type: "button", click: () => fetchFile(path, name, trouble, signal) }, words);
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Keep it"),
    h("p", { class: "hint" }, "The JSON holds every count that the radius was computed from and is signed; anyone can check it, here under Audit or with promptsmooth audit. The report is one page to print."),
    h("div", { class: "actions" }, take("Certificate (JSON)", `certifications/${found.id}`, `${stem}.json`), take("Report (PDF)", `certifications/${found.id}/report.pdf`, `${stem}.pdf`)),
    trouble,
    digests(found),
  );
}

/** @param {string} path @param {string} name @param {HTMLElement} trouble @param {AbortSignal} signal */
async function fetchFile(path, name, trouble, signal) {
  trouble.textContent = "";
  try {
    download(await getBlob(path, signal), name);
  } catch (error) {
    trouble.textContent = `It could not be downloaded. ${/** @type {Error} */ (error).message}`;
  }
}

/** @param {any} found */
function digests(found) {
  const rows = [
    ["certification", found.id],
    ["image (SHA-256 of its integers)", found.input.sha256],
    ["model", `${found.model.id}, ${found.model.sha256}`],
    ["noise key commitment", found.provenance.key_commitment],
    ["computed on", `${found.provenance.device}, ${found.provenance.precision}`],
  ];
  return h("details", {}, h("summary", {}, "Digests"), h("dl", { class: "digests" }, ...rows.flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])));
}
