// The chosen image as the service reads it, with controls for frame and window.

import { h, show } from "../elements/dom.js";
import { field, select } from "../elements/fields.js";
import { blobImage, decodeBlob } from "../elements/picture.js";
import { postForm } from "../service/http.js";
import { say } from "../strings/say.js";

const WAIT_MS = 250;
/** Centre and width in the units of the file, Hounsfield units for a CT. */
const PRESETS = /** @type {[string, string][]} */ ([
  ["", say("window.file")],
  ["auto", say("window.auto")],
  ["40,80", say("window.brain")],
  ["40,400", say("window.soft_tissue")],
  ["-600,1500", say("window.lung")],
  ["50,350", say("window.mediastinum")],
  ["400,1800", say("window.bone")],
  ["own", say("window.own")],
]);

/** @param {() => any} getModel */
export function previewPanel(getModel) {
  const state = { file: /** @type {File | null} */ (null), model: "", timer: 0, asking: new AbortController() };
  const pictures = h("div", { class: "pictures" });
  const note = h("p", { class: "hint", role: "status" });
  const controls = createControls(() => later());
  const element = h("section", { class: "preview", hidden: true, "aria-label": say("preview.title") }, pictures, note, controls.element);
  const later = () => {
    clearTimeout(state.timer);
    state.timer = window.setTimeout(draw, WAIT_MS);
  };
  const draw = async () => {
    state.asking.abort();
    state.asking = new AbortController();
    const { file, asking } = state;
    if (!file) return;
    try {
      const found = await askPreview(file, getModel().id, controls.fields(), asking.signal);
      if (asking.signal.aborted) return;
      controls.update(found);
      const { size } = getModel().preprocessing;
      show(pictures, shown(found.picture_png, say("preview.picture"), `${found.source.toUpperCase()}, ${found.width} × ${found.height}`, asking.signal), shown(found.input_png, say("preview.seen"), say("models.pixels", { side: size }), asking.signal));
      note.textContent = found.notes.join(" ");
      note.classList.remove("problem");
    } catch (error) {
      if (asking.signal.aborted) return;
      refused(/** @type {any} */ (error), file);
    }
  };
  const refused = (/** @type {any} */ problem, /** @type {File} */ file) => {
    const none = [404, 405].includes(problem.status);
    note.classList.toggle("problem", !none);
    note.textContent = none ? say("preview.none") : problem.message;
    controls.needFrame(problem);
    const readable = none && file.type.startsWith("image/") && !file.type.includes("tif");
    show(pictures, readable && h("figure", {}, h("div", { class: "picture" }, blobImage(file, say("preview.chosen"), state.asking.signal)), h("figcaption", {}, h("strong", {}, say("preview.file")))));
  };
  return {
    element,
    /** @returns {File | null} */
    get file() {
      return state.file;
    },
    show: (/** @type {File | null} */ file) => {
      if (file === state.file) return;
      state.file = file;
      state.asking.abort();
      element.hidden = file === null;
      note.textContent = say("preview.reading");
      note.classList.remove("problem");
      show(pictures, placeholder(say("preview.picture")), placeholder(say("preview.seen")));
      controls.hide();
      if (file === null) controls.reset();
      draw();
    },
    modelChanged: () => {
      if (state.model === getModel().id) return;
      state.model = getModel().id;
      draw();
    },
    fields: () => controls.fields(),
  };
}

/** @param {File} file @param {string} model @param {[string, string][]} fields @param {AbortSignal} signal */
function askPreview(file, model, fields, signal) {
  const form = new FormData();
  form.append("image", file, "image");
  form.append("model", model);
  for (const [name, value] of fields) form.append(name, value);
  return postForm("preview", form, signal);
}

/** @param {string} base64 @param {string} title @param {string} text @param {AbortSignal} signal */
function shown(base64, title, text, signal) {
  return h("figure", {}, h("div", { class: "picture" }, blobImage(decodeBlob(base64), title, signal)), h("figcaption", {}, h("strong", {}, title), ` ${text}`));
}

/** @param {string} title */
function placeholder(title) {
  return h("figure", {}, h("div", { class: "picture" }), h("figcaption", {}, h("strong", {}, title)));
}

/** Controls for frame and window, shown if the file has them. @param {() => void} changed */
function createControls(changed) {
  const frame = h("input", { type: "range", min: 0, max: 0, value: 0, step: 1 });
  const preset = select(PRESETS);
  const centre = h("input", { type: "range", step: "any" });
  const width = h("input", { type: "range", step: "any" });
  const out = { frame: h("output", {}), centre: h("output", {}), width: h("output", {}) };
  const frames = labelled(say("preview.frame"), frame, out.frame);
  const windows = h("div", {}, field(say("preview.window"), say("preview.window_hint"), preset), labelled(say("preview.centre"), centre, out.centre), labelled(say("preview.width"), width, out.width));
  const element = h("div", { class: "controls" }, frames, windows);
  let touched = false;
  const showValues = () => {
    out.frame.textContent = say("preview.frame_of", { number: Number(frame.value) + 1, frames: Number(frame.max) + 1 });
    frame.setAttribute("aria-valuetext", out.frame.textContent);
    out.centre.textContent = String(Math.round(Number(centre.value)));
    out.width.textContent = String(Math.round(Number(width.value)));
  };
  const own = () => {
    preset.value = "own";
    showValues();
    changed();
  };
  frame.addEventListener("input", () => {
    touched = true;
    showValues();
    changed();
  });
  centre.addEventListener("input", own);
  width.addEventListener("input", own);
  preset.addEventListener("change", changed);
  const hide = () => {
    frames.hidden = windows.hidden = true;
  };
  const reset = () => {
    preset.value = "";
    frame.max = frame.value = "0";
    touched = false;
  };
  hide();
  reset();
  return {
    element,
    /** Hides the controls. The choice applies to all images, so it is kept. */
    hide,
    /** Clears the choice, when no image is left. */
    reset,
    /** @returns {[string, string][]} */
    fields: () => {
      const set = preset.value === "own" ? `${Math.round(Number(centre.value))},${Math.max(1, Math.round(Number(width.value)))}` : preset.value;
      /** @type {[string, string][]} */
      const given = set ? [["window", set]] : [];
      return touched ? [["frame", frame.value], ...given] : given;
    },
    /** @param {any} found what the service read */
    update: (found) => {
      frames.hidden = found.frames < 2;
      windows.hidden = found.window === null;
      if (found.frames > 1) {
        frame.max = String(found.frames - 1);
        frame.value = String(found.frame);
        touched = true;
      }
      if (found.window && preset.value !== "own") range(centre, width, found.window);
      showValues();
    },
    /** A file with several frames is refused until a frame is named, so the first is chosen. If the
     * file lacks the chosen frame, it stays refused until the user changes it. @param {any} problem */
    needFrame: (problem) => {
      if (!problem.frames) return;
      frames.hidden = false;
      if (problem.code !== "frame_required" || touched) return;
      touched = true;
      changed();
    },
  };
}

/** @param {HTMLInputElement} centre @param {HTMLInputElement} width @param {[number, number]} window */
function range(centre, width, [c, w]) {
  const reach = Math.max(2 * Math.abs(c), 3 * w, 10);
  centre.min = String(Math.floor(c - reach));
  centre.max = String(Math.ceil(c + reach));
  width.min = "1";
  width.max = String(Math.ceil(4 * w));
  centre.value = String(c);
  width.value = String(w);
}

/** @param {string} label @param {HTMLInputElement} control @param {HTMLElement} output */
function labelled(label, control, output) {
  const made = field(label, "", control);
  made.classList.add("slider");
  made.append(output);
  return made;
}
