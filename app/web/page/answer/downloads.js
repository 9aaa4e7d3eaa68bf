// Downloads: the certificate as JSON, and a report to print.

import { h } from "../elements/dom.js";
import { download } from "../elements/picture.js";
import { getBlob } from "../service/http.js";
import { say } from "../strings/say.js";

/** @param {any} found @param {AbortSignal} signal */
export function downloads(found, signal) {
  const trouble = h("p", { class: "trouble", role: "alert" });
  const stem = `certificate-${found.id.slice(0, 8)}`;
  const take = (/** @type {string} */ words, /** @type {string} */ path, /** @type {string} */ name) =>
    h("button", { type: "button", click: () => fetchFile(path, name, trouble, signal) }, words);
  return h(
    "section",
    { class: "card" },
    h("h2", {}, say("downloads.title")),
    h("p", { class: "hint" }, say("downloads.hint")),
    h("div", { class: "actions" }, take(say("downloads.certificate"), `certifications/${found.id}`, `${stem}.json`), take(say("downloads.report"), `certifications/${found.id}/report.pdf`, `${stem}.pdf`)),
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
    trouble.textContent = say("downloads.failed", { reason: /** @type {Error} */ (error).message });
  }
}

/** @param {any} found */
function digests(found) {
  const rows = [
    [say("downloads.id"), found.id],
    [say("downloads.image"), found.input.sha256],
    [say("downloads.model"), `${found.model.id}, ${found.model.sha256}`],
    [say("downloads.commitment"), found.provenance.key_commitment],
    [say("downloads.computed_on"), `${found.provenance.device}, ${found.provenance.precision}`],
  ];
  return h("details", {}, h("summary", {}, say("downloads.digests")), h("dl", { class: "digests" }, ...rows.flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])));
}
