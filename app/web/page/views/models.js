// The models: what they were trained on, how accurate they are, and where they run.

import { h, show } from "../elements/dom.js";
import { percent } from "../elements/words.js";
import { getJson } from "../service/http.js";
import { count, say, sayAround, sayName } from "../strings/say.js";

/** @param {HTMLElement} main @param {string} _ @param {AbortSignal} signal */
export async function open(main, _, signal) {
  const found = await getJson("models", signal);
  show(
    main,
    h("div", { class: "page-head" }, h("h1", {}, say("models.title")), h("p", { class: "lead" }, say("models.lead"))),
    ...found.models.map(modelCard),
    found.not_added.length > 0 && notAdded(found.not_added),
    found.not_valid.length > 0 && notValid(found.not_valid),
  );
}

/** @param {any} model */
function modelCard(model) {
  return h(
    "article",
    { class: "card" },
    h("h2", {}, model.name, " ", h("code", {}, model.id)),
    h("p", {}, model.description),
    h("p", { class: "notice" }, model.intended_use),
    hosts(model.hosts),
    h(
      "dl",
      { class: "facts-list" },
      ...pair(say("models.classes"), model.class_names.join(", ")),
      ...pair(say("models.sentence"), model.template),
      ...pair(say("models.sees"), say("models.pixels", { side: model.preprocessing.size })),
      ...pair(say("models.licence"), model.licence),
      ...pair(say("models.sha256"), h("code", {}, model.sha256)),
    ),
    model.evaluation.length > 0 && evaluation(model.evaluation),
    model.training_data.length > 0 && h("details", {}, h("summary", {}, say("models.training_data")), h("ul", {}, ...model.training_data.map((/** @type {any} */ d) => h("li", {}, `${d.name} (${d.licence}). ${d.citation}`)))),
  );
}

/** @param {string} term @param {any} value */
function pair(term, value) {
  return [h("dt", {}, term), h("dd", {}, value)];
}

/** @param {any[]} list */
function hosts(list) {
  if (!list.length) return h("p", { class: "empty" }, say("models.no_host"));
  return h(
    "ul",
    { class: "plain hosts" },
    ...list.map((one) => h("li", {}, ...sayAround("models.host", { state: h("span", { class: `tag ${one.state}` }, sayName("host", one.state)), name: one.name }), one.detail && `: ${one.detail}`, one.missing_files.length > 0 && say("models.lacks", { files: one.missing_files.join(", ") }))),
  );
}

/** Accuracy by data set and noise. @param {any[]} rows */
function evaluation(rows) {
  const sigmas = [...new Set(rows.map((r) => r.sigma))].sort((a, b) => a - b);
  const sets = [...new Set(rows.map((r) => r.data))];
  const cell = (/** @type {string} */ data, /** @type {number} */ sigma) => rows.find((r) => r.data === data && r.sigma === sigma);
  return h(
    "details",
    {},
    h("summary", {}, say("models.measured")),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": say("models.accuracy") },
      h(
        "table",
        { class: "rows" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, say("models.images")), ...sigmas.map((s) => h("th", { scope: "col", class: "number" }, s ? say("models.noise", { sigma: s }) : say("models.no_noise"))))),
        h("tbody", {}, ...sets.map((data) => h("tr", {}, h("th", { scope: "row" }, `${data} (${count(rows.find((r) => r.data === data).images)})`), ...sigmas.map((s) => h("td", { class: "number" }, cell(data, s) ? percent(cell(data, s).accuracy) : "–"))))),
      ),
    ),
  );
}

/** @param {any[]} list */
function notAdded(list) {
  return h(
    "section",
    { class: "card" },
    h("h2", {}, say("models.not_added")),
    h("p", { class: "hint" }, say("models.not_added_hint")),
    h("ul", { class: "plain" }, ...list.map((m) => h("li", {}, h("strong", {}, m.name), " ", h("code", {}, m.id), h("p", { class: "hint" }, say("models.described", { description: m.description, licence: m.licence }))))),
  );
}

/** @param {any[]} list */
function notValid(list) {
  return h(
    "section",
    { class: "card" },
    h("h2", {}, say("models.not_valid")),
    h("ul", { class: "plain" }, ...list.map((m) => h("li", {}, h("code", {}, m.id), h("p", { class: "hint" }, m.detail)))),
  );
}
