// What the radius means on this image: everyday changes with their lengths, covered or not.

import { freshId, h, show } from "../elements/dom.js";
import { field, select } from "../elements/fields.js";
import { readPixels } from "../elements/picture.js";
import { length } from "../elements/words.js";
import { getBlob, getJson, Problem } from "../service/http.js";
import { say } from "../strings/say.js";
import { differenceViewer } from "./difference.js";
import { groupTargets, largest, radiusName } from "./targets.js";
import { mark } from "./verdict.js";

/** @param {any} found @param {AbortSignal} signal */
export function yardsticks(found, signal) {
  const body = h("div", { class: "yardsticks" });
  load(found, body, signal).catch((error) => {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) console.error(error);
    const gone = [404, 410].includes(error.status);
    show(body, h("p", { class: gone ? "empty" : "problem" }, gone ? say("yardsticks.gone") : error.message));
  });
  return h(
    "section",
    { class: "card" },
    h("h2", {}, say("yardsticks.title")),
    h("p", { class: "hint" }, say("yardsticks.hint")),
    body,
  );
}

/** @param {any} found @param {HTMLElement} body @param {AbortSignal} signal */
async function load(found, body, signal) {
  const address = `certifications/${found.id}/yardsticks`;
  const [{ yardsticks: changes }, image] = await Promise.all([getJson(address, signal), getBlob(found.links.input_image, signal).then(readPixels)]);
  const certified = found.certificates.filter((/** @type {any} */ c) => c.outcome === "certified");
  const viewer = differenceViewer(signal);
  const rows = h("tbody");
  const which = radiusField(certified, groupTargets(found.certificates).length > 1, () => draw());
  const name = freshId("yardstick");
  const trouble = h("p", { class: "trouble", role: "alert" });
  let wanted = /** @type {any} */ (null);
  const open = async (/** @type {any} */ one) => {
    wanted = one;
    trouble.textContent = "";
    try {
      const changed = await readPixels(await getBlob(`${address}/${one.id}.png`, signal));
      if (wanted === one) viewer.show(image, changed, one.title, one.detail);
    } catch (error) {
      if (wanted === one && !signal.aborted) trouble.textContent = say("yardsticks.failed", { change: one.title, reason: /** @type {Error} */ (error).message });
    }
  };
  const draw = () => show(rows, ...changes.map((/** @type {any} */ one) => row(one, which.radius, name, checked(), () => open(one))));
  const checked = () => /** @type {HTMLInputElement | null} */ (rows.querySelector("input:checked"))?.value ?? changes[0].id;
  draw();
  show(
    body,
    which.element,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say("yardsticks.table") }, h("table", { class: "rows" }, h("caption", { class: "sr" }, say("yardsticks.caption")), h("thead", {}, h("tr", {}, ...[say("column.change"), say("column.length"), say("column.radius")].map((t) => h("th", { scope: "col" }, t)))), rows)),
    trouble,
    viewer.element,
  );
  await open(changes[0]);
}

/** The choice among the radii, if there are several. @param {any[]} certified @param {boolean} several @param {() => void} changed */
function radiusField(certified, several, changed) {
  if (!certified.length) return { element: h("p", {}, say("yardsticks.abstained")), radius: null };
  const choices = select(certified.map((c, i) => /** @type {[string, string]} */ ([String(i), radiusName(c, several)])));
  choices.value = String(certified.indexOf(largest(certified)));
  choices.addEventListener("change", changed);
  return {
    element: field(say("yardsticks.radius"), "", choices),
    /** @returns {number | null} */
    get radius() {
      return certified[Number(choices.value)].radius;
    },
  };
}

/** @param {any} one @param {number | null} radius @param {string} name @param {string} checked @param {() => void} open */
function row(one, radius, name, checked, open) {
  const id = freshId("change");
  const covered = radius !== null && one.l2 < radius;
  return h(
    "tr",
    {},
    h("td", {}, h("div", { class: "choice" }, h("input", { type: "radio", id, name, value: one.id, checked: one.id === checked, change: open }), h("label", { for: id }, one.title))),
    h("td", { class: "number" }, (Math.ceil(one.l2 * 1000 - 1e-9) / 1000).toFixed(3)),
    h("td", {}, h("span", { class: `tag ${covered ? "certified" : "abstained"}` }, mark(covered ? "certified" : "abstained"), say(covered ? "yardsticks.covered" : "yardsticks.not_covered"))),
  );
}
