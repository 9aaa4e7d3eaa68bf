// What was sent with this key, newest first.

import { mark } from "../answer/verdict.js";
import { h } from "../elements/dom.js";
import { length, when } from "../elements/words.js";
import { getJson } from "../service/http.js";
import { fileName } from "../service/memory.js";

const HEADINGS = ["Image", "Answer", "Sent", "Model"];
const SHOWN = 4;

/** @param {HTMLElement} main @param {string} _ @param {AbortSignal} signal */
export async function open(main, _, signal) {
  const body = h("tbody");
  const more = h("button", { type: "button", hidden: true }, "Show more");
  const trouble = h("p", { class: "trouble", role: "alert" });
  const empty = h("p", { class: "empty", hidden: true }, "Nothing has been sent yet. ", h("a", { href: "#/" }, "Certify an image"));
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Jobs" }, h("table", { class: "rows" }, h("caption", { class: "sr" }, "Certifications, newest first"), h("thead", {}, h("tr", {}, ...HEADINGS.map((t) => h("th", { scope: "col" }, t)))), body));
  let address = "certifications?limit=20";
  const next = async () => {
    const page = await getJson(address, signal);
    body.append(...page.certifications.map(jobRow));
    address = page.next ?? "";
    more.hidden = !address;
    empty.hidden = body.children.length > 0 || !more.hidden;
    table.hidden = body.children.length === 0;
  };
  more.addEventListener("click", async () => {
    trouble.textContent = "";
    more.disabled = true;
    await next().catch((error) => (trouble.textContent = error.message));
    more.disabled = false;
  });
  await next();
  main.replaceChildren(
    h("div", { class: "page-head" }, h("h1", {}, "Jobs"), h("p", { class: "lead" }, "What was sent with your key: at each noise level σ the class and its radius, or an abstention. Names of files are known to this tab alone.")),
    h("section", { class: "card" }, table, empty, trouble, h("div", { class: "actions" }, more)),
  );
}

/** @param {any} one */
function jobRow(one) {
  return h(
    "tr",
    {},
    h("td", {}, h("a", { href: `#/certifications/${one.id}` }, fileName(one.id) || one.id.slice(0, 8))),
    h("td", {}, one.outcomes.length ? answers(one.outcomes) : h("span", { class: `tag ${one.status}` }, one.status)),
    h("td", {}, when(one.submitted_at)),
    h("td", {}, one.model.id),
  );
}

/** @param {any[]} outcomes */
function answers(outcomes) {
  const said = (/** @type {any} */ c) => (c.outcome === "certified" ? `${c.prediction}, ${length(c.radius)}` : "abstained");
  return h(
    "ul",
    { class: "plain answers" },
    ...outcomes.slice(0, SHOWN).map((c) => h("li", {}, mark(c.outcome), ` σ ${c.sigma}: ${said(c)}`)),
    outcomes.length > SHOWN && h("li", { class: "hint" }, `and ${outcomes.length - SHOWN} more`),
  );
}
