// Starts an evaluation of a dataset that lies with the service, after saying what it takes.

import { h, show } from "../elements/dom.js";
import { choice, field, group, number, select } from "../elements/fields.js";
import { duration } from "../elements/words.js";
import { ask } from "../service/http.js";
import { say, sayName } from "../strings/say.js";

const OFFERED = ["template", "few-shot", "zero-shot", "few-shot+zero-shot"];

/** @param {any[]} datasets @param {any[]} models @param {any[]} prompts */
export function startForm(datasets, models, prompts) {
  const dataset = select(datasets.flatMap((d) => d.splits.map((/** @type {string} */ split) => /** @type {[string, string]} */ ([`${d.name}/${split}`, `${d.name}, ${split}`]))));
  dataset.value = dataset.querySelector("option[value$='/test']")?.value ?? dataset.value;
  const model = select(models.map((m) => [m.id, m.name]));
  model.value = (models.find((m) => m.default) ?? models[0])?.id;
  const images = h("input", { type: "number", min: 1, value: 100 });
  const sigmas = h("input", { type: "text", value: "0.1, 0.25, 0.5, 1", autocomplete: "off" });
  const most = number("1000");
  const wordings = OFFERED.map((name) => ({ name, element: choice("checkbox", sayName("prompting", name), { checked: name === "template" }) }));
  const prompt = select([["", say("evaluation.none")], ...prompts.map((p) => /** @type {[string, string]} */ ([p.id, p.id]))]);
  const needs = h("p", { class: "hint", role: "status" });
  const problem = h("p", { class: "problem", role: "alert" });
  const start = h("button", { type: "submit", class: "primary" }, say("evaluation.start"));
  const check = h("button", { type: "button" }, say("evaluation.what_it_takes"));
  const asked = () => {
    const [name, split] = dataset.value.split("/");
    const prompting = wordings.filter((one) => one.element.querySelector("input").checked).map((one) => one.name);
    return { dataset: name, split, model: model.value, images: Number(images.value), sigma: sigmas.value.split(/[\s,;]+/).filter(Boolean), n_max: most.value.trim(), prompting, prompt: prompt.value ? [prompt.value] : null };
  };
  const send = async (/** @type {string} */ path) => (await ask("POST", path, { body: JSON.stringify(asked()), headers: { "Content-Type": "application/json" } })).json();
  const act = async (/** @type {() => Promise<void>} */ work) => {
    problem.textContent = "";
    start.disabled = check.disabled = true;
    try {
      await work();
    } catch (error) {
      problem.textContent = /** @type {Error} */ (error).message;
    } finally {
      start.disabled = check.disabled = false;
    }
  };
  check.addEventListener("click", () => act(async () => show(needs, describe(await send("evaluations/estimate")))));
  const form = h("form", { class: "card", novalidate: true }, h("h2", {}, say("evaluation.evaluate")), field(say("evaluation.dataset"), say("evaluation.dataset_hint"), dataset), field(say("column.model"), "", model), field(say("evaluation.images"), say("evaluation.images_hint"), images), field(say("evaluation.sigmas"), say("evaluation.sigmas_hint"), sigmas), field(say("evaluation.samples"), say("evaluation.samples_hint"), most), group(say("evaluation.wordings"), ...wordings.map((one) => one.element)), field(say("evaluation.prompt"), say("evaluation.prompt_hint"), prompt), needs, problem, h("div", { class: "actions" }, start, check));
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    act(async () => void (location.hash = `#/evaluations/${(await send("evaluations")).id}`));
  });
  return form;
}

/** @param {any} needs */
function describe(needs) {
  const mb = (/** @type {number} */ bytes) => say("evaluation.mb", { n: Math.ceil(bytes / 1e6) });
  const unknown = needs.redis_free_bytes === null;
  return [
    say("evaluation.samples_at_most", { n: needs.samples }),
    needs.estimated_s !== null && say("evaluation.time", { time: duration(needs.estimated_s) }),
    say("evaluation.disk", { needed: mb(needs.disk_bytes), free: mb(needs.disk_free_bytes) }),
    say("evaluation.memory", { needed: mb(needs.redis_bytes), free: unknown ? "?" : mb(needs.redis_free_bytes) }),
    needs.disk_reserved_bytes > 0 && say("evaluation.reserved", { disk: mb(needs.disk_reserved_bytes), memory: mb(needs.redis_reserved_bytes) }),
    !needs.fits && say("evaluation.too_much"),
  ]
    .filter(Boolean)
    .join(" ");
}
