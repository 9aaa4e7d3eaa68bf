// Recomputes a certificate from its counts. Nothing is stored.

import { mark } from "../answer/verdict.js";
import { h, show } from "../elements/dom.js";
import { dropZone } from "../elements/drop_zone.js";
import { length, targetName } from "../elements/words.js";
import { ask, Problem } from "../service/http.js";
import { say } from "../strings/say.js";

const MAX_BYTES = 4 * 2 ** 20;
const COLUMNS = [say("column.class"), say("column.l2_radius"), say("column.sigma"), say("column.wording")];

/** @param {HTMLElement} main */
export function open(main) {
  const result = h("div", { role: "status" });
  show(
    main,
    h("div", { class: "page-head" }, h("h1", {}, say("audit.title")), h("p", { class: "lead" }, say("audit.lead"))),
    dropZone({ label: say("audit.drop"), hint: say("audit.drop_hint"), accept: ".json,application/json", onFiles: ([file]) => audit(file, result) }),
    result,
  );
}

/** @param {File} file @param {HTMLElement} result */
async function audit(file, result) {
  show(result, h("p", { class: "empty" }, say("audit.checking")));
  try {
    if (file.size > MAX_BYTES) throw new Problem({ detail: say("audit.too_large") });
    const text = await file.text();
    const answer = await ask("POST", "audit", { body: text, headers: { "Content-Type": "application/json" } });
    show(result, report(file.name, await answer.json(), JSON.parse(text)));
  } catch (error) {
    const code = error instanceof Problem ? error.code : "";
    const text = code === "request_invalid" ? say("audit.unreadable") : /** @type {Error} */ (error).message;
    show(result, h("section", { class: "card" }, h("h2", {}, say("audit.not_audited")), h("p", { class: "problem" }, text)));
  }
}

/** @param {string} name @param {any} found @param {any} document what was audited */
function report(name, found, document) {
  const failed = found.findings.filter((/** @type {any} */ f) => !f.holds);
  return h(
    "section",
    { class: `card audit ${found.holds ? "holds" : "fails"}` },
    h("h2", {}, found.verdict),
    h("p", { class: "hint" }, name),
    claims(document, found.holds),
    failed.length > 0 && list(failed),
    h("details", {}, h("summary", {}, say("audit.held", { n: found.findings.length - failed.length })), list(found.findings.filter((/** @type {any} */ f) => f.holds))),
    found.unsigned.length > 0 && h("p", {}, say("audit.unsigned", { fields: found.unsigned.join(", ") })),
    h("h3", {}, say("audit.unseen")),
    h("ul", { class: "unseen" }, ...found.unseen.map((/** @type {string} */ t) => h("li", {}, t))),
  );
}

/** What the document says, in its own words. @param {any} document @param {boolean} holds */
function claims({ certificates, model }, holds) {
  if (!Array.isArray(certificates)) return null;
  const row = (/** @type {any} */ c) => {
    const certified = c.outcome === "certified";
    return h("tr", {}, h("td", {}, mark(certified ? "certified" : "abstained"), ` ${certified ? c.prediction : say("outcome.abstained")}`), h("td", { class: "number" }, certified ? length(c.radius) : "–"), h("td", { class: "number" }, String(c.sigma)), h("td", {}, targetName(c)));
  };
  return h(
    "div",
    {},
    h("h3", {}, holds ? say("audit.claims") : say("audit.unconfirmed")),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say("audit.table") }, h("table", { class: "rows" }, h("caption", { class: "sr" }, say("audit.caption", { model: model?.id })), h("thead", {}, h("tr", {}, ...COLUMNS.map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, ...certificates.map(row)))),
    h("details", {}, h("summary", {}, say("audit.own_words")), ...certificates.map((c) => h("p", {}, String(c.statement)))),
    h("p", { class: "hint" }, say("audit.no_diagnosis")),
  );
}

/** @param {any[]} findings */
function list(findings) {
  return h("ul", { class: "findings" }, ...findings.map(finding));
}

/** @param {any} one */
function finding(one) {
  const where = one.certificate === null ? "" : say("audit.which", { number: one.certificate + 1 });
  return h("li", { class: one.holds ? "holds" : "fails" }, h("span", { class: "verdict-mark" }, say(one.holds ? "audit.holds" : "audit.fails")), h("span", {}, where + one.sentence));
}
