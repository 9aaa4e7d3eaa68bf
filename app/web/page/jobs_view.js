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
  let address = "certifications?limit=20";
  const next = async () => {
    const page = await listPage(address, signal);
    body.append(...page.certifications.map((/** @type {any} */ one) => jobRow(one, signal)));
    address = page.next;
    more.hidden = !address;
    note.textContent = page.note;
    empty.hidden = body.children.length > 0;
    table.hidden = !empty.hidden;
  };
  more.addEventListener("click", next);
  await next();
}

/** @param {string} path of a page of the list @param {AbortSignal} signal */
async function listPage(path, signal) {
  try {
    const found = await getJson(path, signal);
    return { certifications: found.certifications, next: found.next ?? "", note: "" };
  } catch (error) {
    if (!(error instanceof Problem) || ![404, 405].includes(error.status)) throw error;
    const known = await Promise.all(rememberedIds().map((id) => getJson(`certifications/${id}`, signal).catch(() => null)));
    return { certifications: known.filter(Boolean), next: "", note: "This service keeps no list; these are the ones sent from this tab." };
  }
}

/** @param {any} one @param {AbortSignal} signal */
function jobRow(one, signal) {
  const answer = h("td", {}, levelsOf(one));
  if (one.status === "finished") fillAnswer(answer, one.id, signal);
  return h(
    "tr",
    {},
    h("td", {}, when(one.submitted_at)),
    h("td", {}, h("a", { href: `#/certifications/${one.id}` }, fileName(one.id) || one.id.slice(0, 8))),
    h("td", {}, h("span", { class: `tag ${one.status}` }, one.status)),
    h("td", {}, one.model.id),
    answer,
  );
}

/** @param {any} one */
function levelsOf(one) {
  return one.sigmas ? `σ ${one.sigmas.join(", ")}` : "–";
}

/** The list names no answers, so each is asked for. @param {HTMLElement} cell @param {string} id @param {AbortSignal} signal */
async function fillAnswer(cell, id, signal) {
  const found = await getJson(`certifications/${id}`, signal).catch(() => null);
  if (found?.certificates) show(cell, answers(found.certificates));
}

/** @param {any[]} certificates */
function answers(certificates) {
  return h(
    "ul",
    { class: "plain" },
    ...certificates.slice(0, 4).map((c) => h("li", {}, mark(c.outcome), c.outcome === "certified" ? ` ${c.prediction}, ${length(c.radius)} at σ ${c.sigma}` : ` abstained at σ ${c.sigma}`)),
    certificates.length > 4 && h("li", { class: "hint" }, `and ${certificates.length - 4} more`),
  );
}
