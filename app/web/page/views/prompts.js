// Learned prompts: which there are, and learning one from a zip of labelled images.

import { h, show } from "../elements/dom.js";
import { dropZone } from "../elements/drop_zone.js";
import { choice, field, select } from "../elements/fields.js";
import { plural, when } from "../elements/words.js";
import { learningPanel } from "../progress/learning_panel.js";
import { getJson, postForm } from "../service/http.js";

/** @param {HTMLElement} main @param {string} job @param {AbortSignal} signal */
export async function open(main, job, signal) {
  const [{ models }, { prompts }] = await Promise.all([getJson("models", signal), getJson("prompts", signal)]);
  const head = h("div", { class: "page-head" }, h("h1", {}, "Prompts"), h("p", { class: "lead" }, "A learned prompt is a few vectors in front of a class name, trained from a few labelled images under noise. The model itself stays as it is."));
  const right = job ? learningPanel(job, signal) : learnForm(models);
  show(main, head, h("div", { class: "two" }, list(prompts), right));
}

/** @param {any[]} prompts */
function list(prompts) {
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Learned prompts"),
    prompts.length === 0 && h("p", { class: "empty" }, "There is none yet."),
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
    h("p", { class: "hint" }, `For ${prompt.model} · ${learned ? `learned from ${plural(learned.shots, "image")} a class` : prompt.method} · ${when(prompt.created_at)}`),
    prompt.description && h("p", { class: "hint" }, prompt.description),
    h("details", {}, h("summary", {}, "Digest"), h("p", {}, h("code", { class: "digest" }, prompt.sha256))),
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
  const paper = choice("checkbox", "As published in the paper", {}, "Otherwise with the settings that did not fall below the plain sentence here.");
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Learn the prompt");
  const zone = dropZone({
    label: "Drop a zip here, or choose it",
    hint: "One folder of images for each class; the folder’s name becomes the class.",
    accept: ".zip,application/zip",
    onFiles: ([file]) => {
      state.zip = file;
      chosen.textContent = file.name;
    },
  });
  const form = h("form", { class: "card", novalidate: true }, h("h2", {}, "Learn a prompt"), zone, chosen, field("Name", "Letters a–z, digits, dots, hyphens. It names this prompt for ever.", id), field("Model", "", model), h("details", { class: "advanced" }, h("summary", {}, "Advanced"), field("Images of each class", "", shots), field("Epochs", "How often each image is seen.", epochs), paper), problem, h("div", { class: "actions" }, button));
  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    problem.textContent = state.zip ? "" : "Drop or choose a zip first.";
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
