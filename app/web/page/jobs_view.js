// What was sent with this key, newest first.

import { h, show } from "./dom.js";
import { getJson, Problem } from "./http.js";
import { fileName, rememberedIds } from "./memory.js";
import { mark } from "./verdict.js";
import { length, when } from "./words.js";

/** @param {HTMLElement} main @param {string} _ @param {AbortSignal} signal */
export async function open(main, _, signal) {
  const body = h("tbody");
  const more = h("button", { type: "button", hidden: true }, "Show more");
  const note = h("p", { class: "hint" });
  const empty = h("p", { class: "empty", hidden: true }, "Nothing has been sent yet. ", h("a", { href: "#/" }, "Certify an image"));
  const headings = ["Sent", "Image", "Status", "Model", "Answer"];
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Jobs" }, h("table", { class: "rows" }, h("caption", { class: "sr" }, "Certifications, newest first"), h("thead", {}, h("tr", {}, ...headings.map((t) => h("th", { scope: "col" }, t)))), body));
  show(main, h("div", { class: "page-head" }, h("h1", {}, "Jobs"), h("p", { class: "lead" }, "What was sent with your key. Names of files are known to this tab alone.")), h("section", { class: "card" }, table, empty, note, h("div", { class: "actions" }, more)));
  let cursor = "";
  const next = async () => {
    const page = await listPage(cursor, signal);
    body.append(...page.certifications.map(jobRow));
    cursor = page.next;
    more.hidden = !cursor;
    note.textContent = page.note;
    empty.hidden = body.children.length > 0;
    table.hidden = !empty.hidden;
  };
  more.addEventListener("click", next);
  await next();
}

/** @param {string} cursor @param {AbortSignal} signal */
async function listPage(cursor, signal) {
  try {
    const found = await getJson(`certifications${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`, signal);
    return { certifications: found.certifications, next: found.next_cursor ?? "", note: "" };
  } catch (error) {
    if (!(error instanceof Problem) || ![404, 405].includes(error.status)) throw error;
    const known = await Promise.all(rememberedIds().map((id) => getJson(`certifications/${id}`, signal).catch(() => null)));
    return { certifications: known.filter(Boolean), next: "", note: "This service keeps no list; these are the ones sent from this tab." };
  }
}

/** @param {any} one */
function jobRow(one) {
  return h(
    "tr",
    {},
    h("td", {}, when(one.submitted_at)),
    h("td", {}, h("a", { href: `#/certifications/${one.id}` }, fileName(one.id) || one.id.slice(0, 8))),
    h("td", {}, h("span", { class: `tag ${one.status}` }, one.status)),
    h("td", {}, one.model.id),
    h("td", {}, answerCell(one)),
  );
}

/** @param {any} one */
function answerCell(one) {
  const certificates = one.certificates;
  if (!certificates) return one.failure?.code ?? "–";
  return h(
    "ul",
    { class: "plain" },
    ...certificates.slice(0, 4).map((/** @type {any} */ c) =>
      h("li", {}, mark(c.outcome), c.outcome === "certified" ? ` ${c.prediction}, ${length(c.radius)} at σ ${c.sigma}` : ` abstained at σ ${c.sigma}`),
    ),
    certificates.length > 4 && h("li", { class: "hint" }, `and ${certificates.length - 4} more`),
  );
}
