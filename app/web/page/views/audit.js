// A certificate dropped here is recomputed from its counts; nothing is stored.

import { h, show } from "../elements/dom.js";
import { dropZone } from "../elements/drop_zone.js";
import { plural } from "../elements/words.js";
import { ask, Problem } from "../service/http.js";

const MAX_BYTES = 4 * 2 ** 20;

/** @param {HTMLElement} main */
export function open(main) {
  const result = h("div", { role: "status" });
  show(
    main,
    h("div", { class: "page-head" }, h("h1", {}, "Audit a certificate"), h("p", { class: "lead" }, "Radius, bounds, looks, statement and signature are recomputed from the counts in the file. You need not trust who gave it to you.")),
    dropZone({ label: "Drop a certificate here, or choose it", hint: "The JSON file as it was downloaded. Nothing of it is kept.", accept: ".json,application/json", onFiles: ([file]) => audit(file, result) }),
    result,
  );
}

/** @param {File} file @param {HTMLElement} result */
async function audit(file, result) {
  show(result, h("p", { class: "empty" }, "Checking"));
  try {
    if (file.size > MAX_BYTES) throw new Problem({ detail: "The file is too large to be a certificate." });
    const answer = await ask("POST", "audit", { body: await file.text(), headers: { "Content-Type": "application/json" } });
    show(result, report(file.name, await answer.json()));
  } catch (error) {
    const code = error instanceof Problem ? error.code : "";
    const text = code === "request_invalid" ? "This file is no certificate: it holds no JSON object that can be read." : /** @type {Error} */ (error).message;
    show(result, h("section", { class: "card" }, h("h2", {}, "Not audited"), h("p", { class: "problem" }, text)));
  }
}

/** @param {string} name @param {any} found */
function report(name, found) {
  const failed = found.findings.filter((/** @type {any} */ f) => !f.holds);
  return h(
    "section",
    { class: `card audit ${found.holds ? "holds" : "fails"}` },
    h("h2", {}, found.holds ? "Everything that can be checked holds" : `${plural(failed.length, "finding")} against it`),
    h("p", { class: "hint" }, name),
    failed.length > 0 && list(failed),
    found.holds ? list(found.findings) : h("details", {}, h("summary", {}, "What holds"), list(found.findings.filter((/** @type {any} */ f) => f.holds))),
    h("h3", {}, "What no audit of counts can see"),
    h("ul", { class: "unseen" }, ...found.unseen.map((/** @type {string} */ t) => h("li", {}, t))),
  );
}

/** @param {any[]} findings */
function list(findings) {
  return h("ul", { class: "findings" }, ...findings.map(finding));
}

/** @param {any} one */
function finding(one) {
  const where = one.certificate === null ? "" : `certificate ${one.certificate + 1}: `;
  return h("li", { class: one.holds ? "holds" : "fails" }, h("span", { class: "verdict-mark" }, one.holds ? "holds" : "fails"), h("span", {}, where + one.sentence));
}
