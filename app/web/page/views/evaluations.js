// Evaluations: those sent with this key, a form to start one, and one of them as it grows.

import { h, show } from "../elements/dom.js";
import { download } from "../elements/picture.js";
import { showTrouble } from "../elements/trouble.js";
import { duration, when } from "../elements/words.js";
import { accuracyTable } from "../evaluation/accuracy_table.js";
import { curves } from "../evaluation/curves.js";
import { imageComparison } from "../evaluation/image_comparison.js";
import { startForm } from "../evaluation/start_form.js";
import { hasEnded, watchUntil } from "../service/follow.js";
import { ask, getBlob, getJson } from "../service/http.js";
import { say, sayName } from "../strings/say.js";

const LOOK_MS = 3000;

/** @param {HTMLElement} main @param {string} id @param {AbortSignal} signal */
export async function open(main, id, signal) {
  if (id) return openOne(main, id, signal);
  const head = h("div", { class: "page-head" }, h("h1", {}, say("nav.evaluations")), h("p", { class: "lead" }, say("evaluation.lead")));
  const [{ evaluations }, { datasets }, { models }, { prompts }] = await Promise.all(["evaluations", "datasets", "models", "prompts"].map((path) => getJson(path, signal)));
  const right = datasets.length ? startForm(datasets, models, prompts) : h("section", { class: "card" }, h("h2", {}, say("evaluation.evaluate")), h("p", { class: "empty" }, say("evaluation.no_datasets")));
  show(main, head, h("div", { class: "two" }, list(evaluations), right));
}

/** @param {any[]} evaluations */
function list(evaluations) {
  const row = (/** @type {any} */ one) => h("li", {}, h("h3", {}, h("a", { href: `#/evaluations/${one.id}` }, `${one.dataset}, ${one.split}`)), h("p", { class: "hint" }, [one.model.id, sayName("evaluation_status", one.status), say("evaluation.done", { done: one.done, images: say("count.image", { n: one.images }) }), when(one.submitted_at)].join(" · ")));
  return h("section", { class: "card" }, h("h2", {}, say("evaluation.sent")), evaluations.length === 0 && h("p", { class: "empty" }, say("evaluation.none_yet")), h("ul", { class: "plain" }, ...evaluations.map(row)));
}

/** @param {HTMLElement} main @param {string} id @param {AbortSignal} signal */
async function openOne(main, id, signal) {
  const [{ evaluations }, first] = await Promise.all([getJson("evaluations", signal), getJson(`evaluations/${id}`, signal)]);
  const [progressing, doing, figures] = [h("div"), h("div"), h("section", { class: "card" })];
  const state = h("section", { class: "card" }, progressing, doing);
  let shown = "";
  const others = evaluations.filter((/** @type {any} */ one) => one.id !== id && one.done > 0);
  const draw = (/** @type {any} */ found) => {
    show(progressing, ...progress(found));
    if (found.status !== shown) show(doing, actions(found, signal));
    shown = found.status;
    show(figures, h("h2", {}, say("evaluation.accuracy")), ...(found.table.length ? [curves(found.table), accuracyTable(found.table)] : [h("p", { class: "empty" }, say("evaluation.no_image_yet"))]));
  };
  show(main, h("div", { class: "page-head" }, h("h1", {}, `${first.dataset}, ${first.split}`), h("p", { class: "lead" }, say("evaluation.about", { model: first.model.id, when: when(first.submitted_at) }))), state, figures, imageComparison(first, others, signal));
  draw(first);
  if (!hasEnded(first)) watchUntil(`evaluations/${id}`, hasEnded, draw, LOOK_MS, signal).catch((error) => showTrouble(main, error, signal));
}

/** @param {any} found */
function progress(found) {
  const known = !hasEnded(found) && found.estimated_s !== null;
  return [
    h("h2", {}, sayName("evaluation_status", found.status)),
    h("progress", { max: found.images, value: found.done, "aria-label": say("evaluation.images_done") }),
    h("p", { role: "status" }, say("evaluation.done", { done: found.done, images: say("count.image", { n: found.images }) }), known && say("evaluation.left", { time: duration(found.estimated_s) }), found.skipped > 0 && say("evaluation.skipped", { n: found.skipped })),
    found.failure && h("p", { class: "problem" }, found.failure.detail),
  ];
}

/** @param {any} found @param {AbortSignal} signal */
function actions(found, signal) {
  const trouble = h("p", { class: "trouble", role: "alert" });
  const act = (/** @type {string} */ words, /** @type {() => Promise<void>} */ work) =>
    h("button", { type: "button", click: () => work().catch((error) => (trouble.textContent = error.message)) }, words);
  const files = Object.entries(found.links.results).map(([name, path]) => act(name, async () => download(await getBlob(String(path), signal), `${found.dataset}-${name}`)));
  const end = async () => {
    await ask("DELETE", `evaluations/${found.id}${hasEnded(found) ? "" : "?only=cancel"}`);
    location.hash = "#/evaluations";
  };
  return h("div", {}, h("div", { class: "actions" }, ...files, act(hasEnded(found) ? say("evaluation.remove") : say("common.cancel"), end)), trouble);
}
