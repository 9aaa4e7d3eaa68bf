// Makes the radius visible: the image, and two changes of it that are as large as the radius allows.

import { freshId, h, show, svg } from "../elements/dom.js";
import { field, select } from "../elements/fields.js";
import { readPixels } from "../elements/picture.js";
import { length } from "../elements/words.js";
import { getBlob } from "../service/http.js";
import { say } from "../strings/say.js";
import { patch, shiftAll, strongSide, widestSide } from "./tampering.js";
import { groupTargets, largest, radiusName } from "./targets.js";

/** @typedef {import("./tampering.js").Pixels} Pixels */

/** @param {any} found @param {AbortSignal} signal */
export function tangible(found, signal) {
  const certified = found.certificates.filter((/** @type {any} */ c) => c.outcome === "certified" && c.radius > 0);
  const body = h("div", { class: "tangible" });
  const card = h(
    "section",
    { class: "card" },
    h("h2", {}, say("tangible.title")),
    h("p", { class: "hint" }, certified.length ? say("tangible.hint") : say("tangible.abstained")),
    body,
  );
  if (certified.length) load(found, certified, body, signal);
  return card;
}

/** @param {any} found @param {any[]} certified @param {HTMLElement} body @param {AbortSignal} signal */
async function load(found, certified, body, signal) {
  try {
    const image = await readPixels(await getBlob(found.links.input_image, signal));
    explore(body, image, certified, groupTargets(found.certificates).length > 1);
  } catch {
    if (!signal.aborted) show(body, h("p", { class: "empty" }, say("tangible.gone")));
  }
}

/** @param {HTMLElement} body @param {Pixels} image @param {any[]} certified @param {boolean} several */
function explore(body, image, certified, several) {
  const best = certified.indexOf(largest(certified));
  const options = certified.map((c, i) => /** @type {[string, string]} */ ([String(i), radiusName(c, several)]));
  const which = select(options);
  which.value = String(best);
  const size = h("input", { type: "range", min: 1, step: 1 });
  const pictures = h("div", { class: "three" });
  const redraw = () => drawThree(pictures, image, certified[Number(which.value)].radius, Number(size.value));
  const reset = () => {
    const { radius } = certified[Number(which.value)];
    size.max = String(widestSide(radius, image.width));
    size.value = String(strongSide(radius, image.width));
    redraw();
  };
  which.addEventListener("change", reset);
  size.addEventListener("input", redraw);
  show(body, h("div", { class: "row" }, field(say("tangible.radius"), "", which), field(say("tangible.size"), "", size)), pictures);
  reset();
}

/** @param {HTMLElement} into @param {Pixels} image @param {number} radius @param {number} side */
function drawThree(into, image, radius, side) {
  const whole = shiftAll(image, radius);
  const local = patch(image, radius, side);
  show(
    into,
    panel(image, say("tangible.unchanged"), say("tangible.certified")),
    panel(whole.pixels, say("tangible.spread"), `${wholeWords(whole)} ${said(whole.l2, radius)}`),
    panel(local.pixels, say("tangible.local"), `${say("tangible.patch", { n: side, levels: local.levels })} ${said(local.l2, radius)}`, frame(image, side)),
  );
}

/** @param {import("./tampering.js").Tampered} whole */
function wholeWords({ base = 0, share = 0 }) {
  const part = `${(100 * share).toFixed(0)} %`;
  if (base === 0) return say(share < 0.995 ? "tangible.some_pixels" : "tangible.all_pixels", { part });
  return say("tangible.pixels", { base, part, more: base + 1 });
}

/** @param {number} l2 @param {number} radius */
function said(l2, radius) {
  return say("tangible.length", { l2: (Math.floor(l2 * 1e6) / 1e6).toFixed(6), radius: radius.toFixed(6) });
}

/** Marks the patch on the picture. @param {Pixels} image @param {number} side */
function frame(image, side) {
  const at = (/** @type {number} */ size) => Math.floor((size - side) / 2) - 1.5;
  const box = svg("rect", { x: at(image.width), y: at(image.height), width: side + 3, height: side + 3 });
  return svg("svg", { class: "where", viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" }, box);
}

/** @param {Pixels} image @param {string} title @param {string} text @param {SVGElement} [over] */
function panel(image, title, text, over) {
  const id = freshId("panel");
  const canvas = h("canvas", { width: image.width, height: image.height, role: "img", "aria-labelledby": id });
  const pixels = new ImageData(/** @type {any} */ (image.data), image.width, image.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return h("figure", {}, h("div", { class: "picture" }, canvas, over), h("figcaption", { id }, h("strong", {}, title), ` ${text}`));
}
