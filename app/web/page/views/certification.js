// One certification: its progress while it runs, then its answer. The image stays in place.

import { answer } from "../answer/answer.js";
import { purge } from "../answer/purge.js";
import { announce, find, h, show } from "../elements/dom.js";
import { picture } from "../elements/picture.js";
import { showTrouble } from "../elements/trouble.js";
import { plainly, when } from "../elements/words.js";
import { progressPanel } from "../progress/progress_panel.js";
import { follow, hasEnded } from "../service/follow.js";
import { ask, getJson } from "../service/http.js";
import { fileName } from "../service/memory.js";
import { say, sayName } from "../strings/say.js";

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
  if (ended.goal) find("#reach-note")?.remove(); // the goal's answer says it
  const hadFocus = body.contains(document.activeElement);
  end(body, ended, signal);
  announce(`${ENDINGS[ended.status]?.title ?? say("certification.finished")}. ${find("#answer-title")?.textContent ?? ""}`);
  if (hadFocus) find("#answer-title")?.focus();
}

/** @param {string} id */
async function cancel(id) {
  await ask("DELETE", `certifications/${id}?only=cancel`);
}

/** @param {any} found */
function head(found) {
  const name = fileName(found.id);
  const before = found.continues && h("a", { href: `#/certifications/${found.continues}` }, say("certification.goes_on"));
  const batch = found.batch_id && h("a", { href: `#/batches/${found.batch_id}` }, say("certification.batch"));
  return h(
    "div",
    { class: "page-head" },
    h("h1", {}, name || say("certification.title")),
    h("p", { class: "facts" }, say("certification.sent", { when: when(found.submitted_at), model: found.model.id }), " · ", found.reference && say("certification.reference", { reference: found.reference }), found.reference && " · ", before, before && " · ", batch, batch && " · ", h("a", { href: "#/" }, fileName(found.id) ? say("certification.ask_again") : say("certification.another"))),
    found.note && !found.goal && h("p", { class: "hint", id: "reach-note" }, plainly(found.note)),
  );
}

/** @param {any} found @param {AbortSignal} signal */
function imagePanel(found, signal) {
  const { input } = found;
  return h(
    "figure",
    { class: "case-image" },
    picture(found.links.input_image, say("certification.picture"), signal),
    h("figcaption", {}, h("strong", {}, say("certification.as_seen")), h("span", { class: "note" }, say("certification.size", { width: input.width, height: input.height })), origin(input)),
  );
}

/** How the picture was read from the file. @param {any} input */
function origin(input) {
    const parts = [say("certification.source", { kind: input.source.toUpperCase() })];
  if (input.frames > 1) parts.push(say("certification.frame", { number: input.frame + 1, frames: input.frames }));
  if (input.window) {
    const values = input.window.map((/** @type {number} */ w) => Math.round(w * 10) / 10).join(" / ");
    parts.push(say("certification.window", { values, why: sayName("window_from", input.window_origin) }));
  }
  return h("span", { class: "hint" }, parts.join(" · "), ...input.notes.map((/** @type {string} */ note) => h("span", { class: "note" }, note)));
}

/** @type {Record<string, {title: string, text: string}>} */
const ENDINGS = {
  cancelled: {
    title: say("certification.cancelled"),
    text: say("certification.cancelled_text"),
  },
  failed: {
    title: say("certification.failed"),
    text: say("certification.failed_text"),
  },
};

/** @param {HTMLElement} body @param {any} ended @param {AbortSignal} signal */
function end(body, ended, signal) {
  if (ended.status === "finished") return show(body, ...answer(ended, signal), purge(ended));
  const { title, text } = ENDINGS[ended.status] ?? ENDINGS.failed;
  show(
    body,
    h(
      "section",
      { class: `card ending ${ended.status}` },
      h("h2", { id: "answer-title", tabindex: "-1" }, title),
      h("p", {}, text),
      ended.failure && h("p", { class: "problem" }, ended.failure.detail, h("span", { class: "code" }, ended.failure.code)),
      h("p", {}, h("a", { href: "#/", class: "button" }, say("common.certify_an_image"))),
    ),
    purge(ended),
  );
}
