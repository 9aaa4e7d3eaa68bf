// The certifications sent with this key, newest first. Images sent together are one row, which opens.

import { h, show } from "../elements/dom.js";
import { field, select } from "../elements/fields.js";
import { getJson } from "../service/http.js";
import { say, sayName } from "../strings/say.js";
import { jobRows } from "./job_rows.js";

const HEADINGS = [say("column.image"), say("column.answer"), say("column.sent"), say("column.model")];
const STATUSES = /** @type {[string, string][]} */ ([
  ["", say("jobs.any")],
  ...["queued", "running", "finished", "failed", "cancelled"].map((status) => [status, sayName("status", status)]),
]);
const WAIT_MS = 300;

/** @param {HTMLElement} main @param {string} _ @param {AbortSignal} signal */
export async function open(main, _, signal) {
  const { models } = await getJson("models", signal);
  const results = h("div");
  const filters = filterForm(models, () => list(results, filters.query(), signal));
  show(
    main,
    h("div", { class: "page-head" }, h("h1", {}, say("jobs.title")), h("p", { class: "lead" }, say("jobs.lead"))),
    h("section", { class: "card" }, filters.element, results),
  );
  await list(results, filters.query(), signal);
}

/** @param {any[]} models @param {() => void} changed */
function filterForm(models, changed) {
  const status = select(STATUSES);
  const model = select([["", say("jobs.any")], ...models.map((m) => /** @type {[string, string]} */ ([m.id, m.name]))]);
  const reference = h("input", { type: "text", autocomplete: "off", spellcheck: "false", maxlength: 100 });
  const since = h("input", { type: "date" });
  const until = h("input", { type: "date" });
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = window.setTimeout(changed, WAIT_MS);
  };
  const element = h("form", { class: "filters", role: "search", "aria-label": say("jobs.filters"), input: later, submit: (/** @type {Event} */ event) => event.preventDefault() }, field(say("jobs.status"), "", status), field(say("column.model"), "", model), field(say("column.reference"), "", reference), field(say("jobs.since"), "", since), field(say("jobs.until"), "", until));
  return {
    element,
    query: () => {
      const query = new URLSearchParams({ limit: "20" });
      const given = { status: status.value, model: model.value, reference: reference.value.trim(), since: time(since.value, 0), until: time(until.value, 1) };
      for (const [name, value] of Object.entries(given)) if (value) query.set(name, value);
      return query;
    },
  };
}

/** A day of this place as the service takes a time; its end is the beginning of the next.
 * @param {string} day @param {number} later in days */
function time(day, later) {
  if (!day) return "";
  const at = new Date(`${day}T00:00:00`);
  at.setDate(at.getDate() + later);
  return at.toISOString();
}

/** @param {HTMLElement} results @param {URLSearchParams} query @param {AbortSignal} signal */
async function list(results, query, signal) {
  const replaced = new AbortController();
  const asking = AbortSignal.any([signal, replaced.signal]); // ended already if the view is closed
  results.dispatchEvent(new Event("replaced"));
  results.addEventListener("replaced", () => replaced.abort(), { once: true });
  const rows = jobRows(asking);
  const more = h("button", { type: "button", hidden: true }, say("jobs.more"));
  const trouble = h("p", { class: "trouble", role: "alert" });
  const filtered = [...query.keys()].length > 1;
  const empty = h("p", { class: "empty", role: "status", hidden: true }, filtered ? say("jobs.none_like") : say("jobs.none"), !filtered && " ", !filtered && h("a", { href: "#/" }, say("common.certify_an_image")));
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say("jobs.title") }, h("table", { class: "rows jobs" }, h("caption", { class: "sr" }, say("jobs.caption")), h("thead", {}, h("tr", {}, ...HEADINGS.map((t) => h("th", { scope: "col" }, t)))), rows.element));
  let address = `certifications?${query}`;
  const next = async () => {
    trouble.textContent = "";
    more.disabled = true;
    try {
      const page = await getJson(address, asking);
      rows.add(page.certifications);
      address = page.next ?? "";
    } catch (error) {
      if (!asking.aborted) trouble.textContent = /** @type {Error} */ (error).message;
    }
    more.disabled = false;
    more.hidden = !address;
    empty.hidden = rows.element.children.length > 0 || !more.hidden;
    table.hidden = rows.element.children.length === 0;
  };
  more.addEventListener("click", next);
  await next();
  if (!asking.aborted) show(results, table, empty, trouble, h("div", { class: "actions" }, more));
}
