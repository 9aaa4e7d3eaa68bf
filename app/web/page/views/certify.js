// The form for a certification. The tab remembers what was chosen, so that going back from an answer
// shows the form as it was. A change of key clears it.

import { announce, h, show } from "../elements/dom.js";
import { dropZone } from "../elements/drop_zone.js";
import { field } from "../elements/fields.js";
import { exampleImages } from "../question/example_images.js";
import { previewPanel } from "../question/preview_panel.js";
import { questionForm } from "../question/question_form.js";
import { reachWarning } from "../question/reach.js";
import { getJson, postForm, Problem } from "../service/http.js";
import { remember, rememberBatch } from "../service/memory.js";
import { say } from "../strings/say.js";

const ACCEPT = ".png,.jpg,.jpeg,.tif,.tiff,.jp2,.j2k,.webp,.dcm,.dicom,image/*,application/dicom";

/** @type {{lists: string, form: HTMLElement, hostsChanged: (models: any[]) => void} | null} */
let kept = null;
document.addEventListener("key-changed", () => (kept = null));

/** @param {HTMLElement} main @param {string} _ @param {AbortSignal} signal */
export async function open(main, _, signal) {
  const [{ models }, { prompts }] = await Promise.all([
    getJson("models", signal),
    getJson("prompts", signal),
  ]);
  if (!models.length) throw new Problem({ detail: say("certify.no_model") });
  const lists = JSON.stringify([models, prompts].map((all) => all.map(digestOf)));
  if (kept?.lists !== lists) kept = { lists, ...createForm(models, prompts) };
  else kept.hostsChanged(models);
  show(main, intro(), kept.form);
}

/** What the form depends on, of a model or a prompt. @param {any} one */
function digestOf({ id, sha256 }) {
  return [id, sha256];
}

/** @param {any[]} models @param {any[]} prompts */
function createForm(models, prompts) {
  /** @type {File[]} */
  let files = [];
  let sent = false; // images added after sending start a new case
  /** @type {any} */
  let awaited = null; // the example whose file is arriving, unless other files were chosen since
  const question = questionForm(models, prompts, () => refresh());
  const warning = reachWarning(() => (question.hasGoal ? [...question.fields(), ["images", String(Math.max(1, files.length))]] : null));
  const preview = previewPanel(() => question.model);
  const reference = h("input", { type: "text", autocomplete: "off", spellcheck: "false", maxlength: 100 });
  const list = h("ul", { class: "files" });
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" });
  const refresh = () => {
    button.textContent = say(files.length > 1 ? "certify.send_images" : "certify.send_image", { images: say("count.image", { n: files.length }), levels: say("count.noise_level", { n: question.sigmas.length }) });
    preview.modelChanged();
    warning.changed();
  };
  const setFiles = (/** @type {File[]} */ chosen) => {
    files = chosen;
    awaited = null;
    problem.textContent = "";
    fileList(list, files, preview.show, (i) => replace(files.filter((_, at) => at !== i)), () => replace([]));
    if (!preview.file || !files.includes(preview.file)) preview.show(files[0] ?? null);
    zone.classList.toggle("roomy", files.length === 0);
    examples.hidden = files.length > 0;
    refresh();
  };
  /** Takes other files for those whose button had the focus, which would else be lost. */
  const replace = (/** @type {File[]} */ chosen) => {
    setFiles(chosen);
    (list.querySelector("button") ?? zone.querySelector("input")).focus();
  };
  const zone = dropZone({
    label: say("certify.drop"),
    hint: say("certify.drop_hint"),
    accept: ACCEPT,
    multiple: true,
    onFiles: (added) => {
      setFiles(sent ? added : [...files, ...added]);
      sent = false;
      announce(say("certify.chosen", { images: say("count.image", { n: files.length }) }));
    },
  });
  const examples = exampleImages(prompts, async (example, arriving) => {
    question.choosePrompt(example.prompt, example.template, example.levels);
    problem.textContent = "";
    awaited = example;
    const file = await arriving.catch(() => null);
    if (awaited !== example) return;
    if (!file) {
      problem.textContent = say("certify.example_away");
      problem.scrollIntoView({ block: "nearest" });
      return;
    }
    if (examples.contains(document.activeElement)) replace([file]);
    else setFiles([file]);
    sent = false;
    announce(say("certify.example_chosen", { name: example.class }));
  });
  const form = h(
    "form",
    { class: "certify", novalidate: true },
    h("div", { class: "certify-images" }, zone, examples, list, preview.element),
    h("div", { class: "certify-question card" }, question.element, field(say("certify.reference"), say("certify.reference_hint"), reference), h("div", { class: "actions" }, problem, warning.element, button)),
  );
  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    const lacking = files.length ? question.lacking() : say("certify.lacking");
    problem.textContent = lacking;
    if (lacking) return;
    button.disabled = true;
    try {
      location.hash = await send(files, question, preview, reference.value.trim());
      sent = true;
    } catch (error) {
      problem.textContent = /** @type {Error} */ (error).message;
      const index = /** @type {any} */ (error).imageIndex;
      if (index !== undefined) list.children[index]?.classList.add("refused");
      problem.scrollIntoView({ block: "nearest" });
    } finally {
      button.disabled = false;
    }
  });
  setFiles([]);
  return { form, hostsChanged: question.hostsChanged };
}

function intro() {
  return h(
    "div",
    { class: "page-head" },
    h("h1", {}, say("certify.title")),
    h("p", { class: "lead" }, say("certify.lead")),
  );
}

/**
 * @param {HTMLElement} list @param {File[]} files
 * @param {(file: File) => void} select @param {(index: number) => void} remove @param {() => void} clear
 */
function fileList(list, files, select, remove, clear) {
  const rows = files.map((file, index) =>
    h(
      "li",
      {},
      h("button", { type: "button", class: "link", click: () => select(file) }, file.name),
      h("span", { class: "hint" }, size(file.size)),
      h("button", { type: "button", class: "quiet", "aria-label": say("certify.remove_file", { name: file.name }), click: () => remove(index) }, say("certify.remove")),
    ),
  );
  const all = files.length > 1 && h("li", {}, h("span", { class: "hint" }, say("count.image", { n: files.length })), h("span"), h("button", { type: "button", class: "quiet", click: clear }, say("certify.remove_all")));
  show(list, ...rows, all);
}

/** @param {number} bytes */
function size(bytes) {
  return bytes < 1e6 ? say("certify.kilobytes", { n: Math.max(1, Math.round(bytes / 1e3)) }) : say("certify.megabytes", { n: (bytes / 1e6).toFixed(1) });
}

/** @param {File[]} files @param {any} question @param {any} preview @param {string} reference @returns {Promise<string>} where to go */
async function send(files, question, preview, reference) {
  const form = new FormData();
  for (const file of files) form.append("image", file, "image");
  for (const [name, value] of [...question.fields(), ...preview.fields()]) form.append(name, value);
  if (reference) form.append("reference", reference);
  const found = await postForm("certify", form);
  for (const one of found.certifications ?? [found])
    remember(one.id, {
      name: files[one.image_index].name,
      sigmas: question.sigmas,
      classNames: question.classNames,
      submittedAt: one.submitted_at,
    });
  if (found.certifications) rememberBatch(found.id, files.map((file) => file.name));
  return found.certifications ? `#/batches/${found.id}` : `#/certifications/${found.id}`;
}
