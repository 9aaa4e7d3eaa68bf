// Learned prompts: a list, and a form to learn one from a zip of labelled images.

import { h, show } from "../elements/dom.js";
import { dropZone } from "../elements/drop_zone.js";
import { choice, field, select } from "../elements/fields.js";
import { when } from "../elements/words.js";
import { learningPanel } from "../progress/learning_panel.js";
import { getJson, postForm } from "../service/http.js";
import { say } from "../strings/say.js";

/** @param {HTMLElement} main @param {string} job @param {AbortSignal} signal */
export async function open(main, job, signal) {
  const [{ models }, { prompts }] = await Promise.all([getJson("models", signal), getJson("prompts", signal)]);
  const head = h("div", { class: "page-head" }, h("h1", {}, say("prompts.title")), h("p", { class: "lead" }, say("prompts.lead")));
  const right = job ? learningPanel(job, signal) : learnForm(models);
  show(main, head, h("div", { class: "two" }, list(prompts), right));
}

/** @param {any[]} prompts */
function list(prompts) {
  return h(
    "section",
    { class: "card" },
    h("h2", {}, say("prompts.learned")),
    prompts.length === 0 && h("p", { class: "empty" }, say("prompts.none")),
    h("ul", { class: "plain prompts" }, ...prompts.map(promptRow)),
  );
}

/** @param {any} prompt */
function promptRow(prompt) {
  const learned = prompt.learning;
  return h(
    "li",
    {},
    h("h3", {}, h("code", {}, prompt.id)),
    h("p", {}, prompt.class_names.join(", ")),
    h("p", { class: "hint" }, [say("prompts.for", { model: prompt.model }), learned ? say("prompts.learned_from", { images: say("count.image", { n: learned.shots }) }) : prompt.method, when(prompt.created_at)].join(" · ")),
    prompt.description && h("p", { class: "hint" }, prompt.description),
    h("details", {}, h("summary", {}, say("prompts.digest")), h("p", {}, h("code", { class: "digest" }, prompt.sha256))),
  );
}

/** @param {any[]} models */
function learnForm(models) {
  const state = { zip: /** @type {File | null} */ (null) };
  const chosen = h("p", { class: "hint", role: "status" }, " ");
  const id = h("input", { type: "text", spellcheck: "false", autocomplete: "off" });
  const model = select(models.map((m) => [m.id, m.name]));
  model.value = (models.find((m) => m.default) ?? models[0])?.id;
  const shots = h("input", { type: "number", min: 1, max: 1024, value: 16 });
  const epochs = h("input", { type: "number", min: 1, value: 50 });
  const paper = choice("checkbox", say("prompts.paper"), {}, say("prompts.paper_hint"));
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, say("prompts.learn"));
  const zone = dropZone({
    label: say("prompts.drop"),
    hint: say("prompts.drop_hint"),
    accept: ".zip,application/zip",
    onFiles: ([file]) => {
      state.zip = file;
      chosen.textContent = file.name;
    },
  });
  const form = h("form", { class: "card", novalidate: true }, h("h2", {}, say("prompts.learn_title")), zone, chosen, field(say("prompts.name"), say("prompts.name_hint"), id), field(say("column.model"), "", model), h("details", { class: "advanced" }, h("summary", {}, say("common.advanced")), field(say("prompts.shots"), "", shots), field(say("prompts.epochs"), say("prompts.epochs_hint"), epochs), paper), problem, h("div", { class: "actions" }, button));
  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    problem.textContent = state.zip ? "" : say("prompts.lacking");
    if (!state.zip) return;
    button.disabled = true;
    try {
      const request = new FormData();
      request.append("zip", state.zip, "images.zip");
      const fields = { id: id.value.trim(), model: model.value, shots: shots.value, epochs: epochs.value, preset: paper.querySelector("input").checked ? "paper" : "default" };
      for (const [name, value] of Object.entries(fields)) request.append(name, value);
      location.hash = `#/prompts/jobs/${(await postForm("prompts/learn", request)).id}`;
    } catch (error) {
      problem.textContent = /** @type {Error} */ (error).message;
    } finally {
      button.disabled = false;
    }
  });
  return form;
}
