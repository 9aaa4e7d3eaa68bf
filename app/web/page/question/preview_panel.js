// The chosen image as the service reads it, with frame and window to adjust.

import { h, show } from "../elements/dom.js";
import { field, select } from "../elements/fields.js";
import { blobImage, decodeBlob } from "../elements/picture.js";
import { postForm } from "../service/http.js";

const WAIT_MS = 250;
/** Centre and width in the units of the file, Hounsfield units for a CT. */
const PRESETS = /** @type {[string, string][]} */ ([
  ["", "as the file says"],
  ["auto", "from its grey values"],
  ["40,80", "brain 40 / 80"],
  ["40,400", "soft tissue 40 / 400"],
  ["-600,1500", "lung −600 / 1500"],
  ["50,350", "mediastinum 50 / 350"],
  ["400,1800", "bone 400 / 1800"],
  ["own", "as set below"],
]);

/** @param {() => any} getModel */
export function previewPanel(getModel) {
  const state = { file: /** @type {File | null} */ (null), model: "", timer: 0, asking: new AbortController() };
  const pictures = h("div", { class: "pictures" });
  const note = h("p", { class: "hint", role: "status" });
  const controls = createControls(() => later());
  const element = h("section", { class: "preview", hidden: true, "aria-label": "Preview" }, pictures, note, controls.element);
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
      show(pictures, shown(found.picture_png, "Picture", `${found.source.toUpperCase()}, ${found.width} × ${found.height}`, asking.signal), shown(found.input_png, "What the model sees", `${size} × ${size} pixels`, asking.signal));
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
    note.textContent = none ? "This service gives no preview; the picture is read when it is sent." : problem.message;
    controls.needFrame(problem);
    const readable = none && file.type.startsWith("image/") && !file.type.includes("tif");
    show(pictures, readable && h("figure", {}, h("div", { class: "picture" }, blobImage(file, "The chosen file", state.asking.signal)), h("figcaption", {}, h("strong", {}, "The file"))));
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
      note.textContent = "Reading the picture";
      note.classList.remove("problem");
      show(pictures, placeholder("Picture"), placeholder("What the model sees"));
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

/** Frame and window, shown where the file has them. @param {() => void} changed */
function createControls(changed) {
  const frame = h("input", { type: "range", min: 0, max: 0, value: 0, step: 1 });
  const preset = select(PRESETS);
  const centre = h("input", { type: "range", step: "any" });
  const width = h("input", { type: "range", step: "any" });
  const out = { frame: h("output", {}), centre: h("output", {}), width: h("output", {}) };
  const frames = labelled("Frame", frame, out.frame);
  const windows = h("div", {}, field("Window", "Which grey values become black and white. It is part of what is certified, and is used for all images.", preset), labelled("Centre", centre, out.centre), labelled("Width", width, out.width));
  const element = h("div", { class: "controls" }, frames, windows);
  let touched = false;
  const say = () => {
    out.frame.textContent = `${Number(frame.value) + 1} of ${Number(frame.max) + 1}`;
    frame.setAttribute("aria-valuetext", out.frame.textContent);
    out.centre.textContent = String(Math.round(Number(centre.value)));
    out.width.textContent = String(Math.round(Number(width.value)));
  };
  const own = () => {
    preset.value = "own";
    say();
    changed();
  };
  frame.addEventListener("input", () => {
    touched = true;
    say();
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
    /** What was chosen holds for all images, so looking at another one leaves it. */
    hide,
    /** Without images nothing is chosen. */
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
      say();
    },
    /** A file of several frames is refused until one is named: the first is. One that lacks the
     * frame stays refused, and the frame can be changed. @param {any} problem */
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
