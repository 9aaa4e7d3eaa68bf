// The form for a certification. The tab remembers what was chosen, so that going back from an answer
// shows the form as it was. A change of key clears it.

import { announce, h, show } from "../elements/dom.js";
import { dropZone } from "../elements/drop_zone.js";
import { plural } from "../elements/words.js";
import { exampleImages } from "../question/example_images.js";
import { previewPanel } from "../question/preview_panel.js";
import { questionForm } from "../question/question_form.js";
import { getJson, postForm, Problem } from "../service/http.js";
import { remember, rememberBatch } from "../service/memory.js";

const ACCEPT = ".png,.jpg,.jpeg,.tif,.tiff,.jp2,.j2k,.webp,.dcm,.dicom,image/*,application/dicom";

/** @type {{lists: string, form: HTMLElement} | null} */
let kept = null;
document.addEventListener("key-changed", () => (kept = null));

/** @param {HTMLElement} main @param {string} _ @param {AbortSignal} signal */
export async function open(main, _, signal) {
  const [{ models }, { prompts }] = await Promise.all([
    getJson("models", signal),
    getJson("prompts", signal),
  ]);
  if (!models.length) throw new Problem({ detail: "This service has no model. Its operator can add one with promptsmooth models add." });
  const lists = JSON.stringify([models.map(stateOf), prompts.map((/** @type {any} */ p) => p.sha256)]);
  if (kept?.lists !== lists) kept = { lists, form: createForm(models, prompts) };
  show(main, intro(), kept.form);
}

/** The facts about a model that the form depends on. @param {any} model */
function stateOf({ id, sha256, hosts }) {
  return [id, sha256, hosts.map((/** @type {any} */ one) => one.state)];
}

/** @param {any[]} models @param {any[]} prompts */
function createForm(models, prompts) {
  /** @type {File[]} */
  let files = [];
  let sent = false; // images added after sending start a new case
  const question = questionForm(models, prompts, () => refresh());
  const preview = previewPanel(() => question.model);
  const list = h("ul", { class: "files" });
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" });
  const refresh = () => {
    button.textContent = `Certify ${files.length > 1 ? plural(files.length, "image") : "the image"} at ${plural(question.sigmas.length, "noise level")}`;
    preview.modelChanged();
  };
  const setFiles = (/** @type {File[]} */ chosen) => {
    files = chosen;
    problem.textContent = "";
    fileList(list, files, preview.show, (i) => setFiles(files.filter((_, at) => at !== i)), () => setFiles([]));
    if (!preview.file || !files.includes(preview.file)) preview.show(files[0] ?? null);
    zone.classList.toggle("roomy", files.length === 0);
    examples.hidden = files.length > 0;
    refresh();
  };
  const zone = dropZone({
    label: "Drop images here, or choose them",
    hint: "DICOM, PNG, JPEG, JPEG 2000, TIFF or WebP. Several at once become a batch. The service does not keep the files, only the picture that the model sees.",
    accept: ACCEPT,
    multiple: true,
    onFiles: (added) => {
      setFiles(sent ? added : [...files, ...added]);
      sent = false;
      announce(`${plural(files.length, "image")} chosen`);
    },
  });
  const examples = exampleImages(prompts, (file, { class: name, prompt, template }) => {
    question.choosePrompt(prompt, template);
    setFiles([file]);
    sent = false;
    announce(`Example chosen: ${name}`);
  });
  const form = h(
    "form",
    { class: "certify", novalidate: true },
    h("div", { class: "certify-images" }, zone, examples, list, preview.element),
    h("div", { class: "certify-question card" }, question.element, h("div", { class: "actions" }, problem, button)),
  );
  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    const lacking = files.length ? question.lacking() : "Drop or choose an image first.";
    problem.textContent = lacking;
    if (lacking) return;
    button.disabled = true;
    try {
      location.hash = await send(files, question, preview);
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
  return form;
}

function intro() {
  return h(
    "div",
    { class: "page-head" },
    h("h1", {}, "How much tampering does the answer withstand?"),
    h("p", { class: "lead" }, "Drop an image. The service proves how far the image can change before the model’s answer could, or says that it cannot prove anything."),
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
      h("button", { type: "button", class: "quiet", "aria-label": `Remove ${file.name}`, click: () => remove(index) }, "Remove"),
    ),
  );
  const all = files.length > 1 && h("li", {}, h("span", { class: "hint" }, plural(files.length, "image")), h("span"), h("button", { type: "button", class: "quiet", click: clear }, "Remove all"));
  show(list, ...rows, all);
}

/** @param {number} bytes */
function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** @param {File[]} files @param {any} question @param {any} preview @returns {Promise<string>} where to go */
async function send(files, question, preview) {
  const form = new FormData();
  for (const file of files) form.append("image", file, "image");
  for (const [name, value] of [...question.fields(), ...preview.fields()]) form.append(name, value);
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
