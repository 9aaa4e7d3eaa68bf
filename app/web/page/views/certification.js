// One certification: followed while it runs, then its answer. The image stays where it is.

import { answer } from "../answer/answer.js";
import { announce, find, h, show } from "../elements/dom.js";
import { picture } from "../elements/picture.js";
import { showTrouble } from "../elements/trouble.js";
import { plural, when } from "../elements/words.js";
import { progressPanel } from "../progress/progress_panel.js";
import { follow, hasEnded } from "../service/follow.js";
import { ask, getJson } from "../service/http.js";
import { fileName } from "../service/memory.js";

/** @param {HTMLElement} main @param {string} id @param {AbortSignal} signal */
export async function open(main, id, signal) {
  const found = await getJson(`certifications/${id}`, signal);
  const body = h("div", { class: "case-body" });
  show(main, head(found), h("div", { class: "case" }, imagePanel(found, signal), body));
  if (hasEnded(found)) return end(body, found, signal);
  run(body, found, signal).catch((error) => showTrouble(main, error, signal));
}

/** @param {HTMLElement} body @param {any} found @param {AbortSignal} signal */
async function run(body, found, signal) {
  const panel = progressPanel(found, () => cancel(found.id));
  show(body, panel.element);
  const ended = await follow(found.id, panel, signal);
  const hadFocus = body.contains(document.activeElement);
  end(body, ended, signal);
  announce(`${ENDINGS[ended.status]?.title ?? "Finished"}. ${find("#answer-title")?.textContent ?? ""}`);
  if (hadFocus) find("#answer-title")?.focus();
}

/** @param {string} id */
async function cancel(id) {
  await ask("DELETE", `certifications/${id}`);
}

/** @param {any} found */
function head(found) {
  const name = fileName(found.id);
  const batch = found.batch_id && h("a", { href: `#/batches/${found.batch_id}` }, "all images sent together");
  return h(
    "div",
    { class: "page-head" },
    h("h1", {}, name || "Certification"),
    h("p", { class: "facts" }, `Sent ${when(found.submitted_at)} · model ${found.model.id} · `, batch, batch && " · ", h("a", { href: "#/" }, fileName(found.id) ? "ask something else of it" : "certify an image")),
  );
}

/** @param {any} found @param {AbortSignal} signal */
function imagePanel(found, signal) {
  const { input } = found;
  return h(
    "figure",
    { class: "case-image" },
    picture(found.links.input_image, "The certified image, as the model sees it", signal),
    h("figcaption", {}, h("strong", {}, "As the model sees it"), h("span", { class: "note" }, `${input.width} × ${input.height} pixels, 8 bit`), origin(input)),
  );
}

/** How the picture was read from the file. @param {any} input */
function origin(input) {
  const from = { request: "as chosen", file: "from the file", percentile: "from its grey values", none: "" };
  const parts = [`from a ${input.source.toUpperCase()} file`];
  if (input.frames > 1) parts.push(`frame ${input.frame + 1} of ${input.frames}`);
  if (input.window) {
    const why = from[/** @type {keyof typeof from} */ (input.window_origin)];
    parts.push(`window ${input.window.map((/** @type {number} */ w) => Math.round(w * 10) / 10).join(" / ")} ${why}`);
  }
  return h("span", { class: "hint" }, parts.join(" · "), ...input.notes.map((/** @type {string} */ note) => h("span", { class: "note" }, note)));
}

/** @type {Record<string, {title: string, text: string}>} */
const ENDINGS = {
  cancelled: {
    title: "Cancelled",
    text: "It was stopped before there were enough votes. Nothing is claimed about this image.",
  },
  failed: {
    title: "No answer",
    text: "Something failed on the way. This says nothing about the image or its class.",
  },
};

/** @param {HTMLElement} body @param {any} ended @param {AbortSignal} signal */
function end(body, ended, signal) {
  if (ended.status === "finished") return show(body, ...answer(ended, signal));
  const { title, text } = ENDINGS[ended.status] ?? ENDINGS.failed;
  show(
    body,
    h(
      "section",
      { class: `card ending ${ended.status}` },
      h("h2", { id: "answer-title", tabindex: "-1" }, title),
      h("p", {}, text),
      ended.failure && h("p", { class: "problem" }, ended.failure.detail, h("span", { class: "code" }, ended.failure.code)),
      h("p", {}, h("a", { href: "#/", class: "button" }, "Certify an image")),
    ),
  );
}

/** @param {any} ended */
export function outcomeLine(ended) {
  if (ended.status !== "finished") return ended.status;
  const certified = ended.certificates.filter((/** @type {any} */ c) => c.outcome === "certified").length;
  return `${certified} of ${plural(ended.certificates.length, "certificate")} with a radius`;
}
