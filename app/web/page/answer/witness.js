// A witness from the other side: the smallest change found that changes an answer, on request.

import { announce, h, show } from "../elements/dom.js";
import { picture } from "../elements/picture.js";
import { watchUntil } from "../service/follow.js";
import { Problem, ask, getJson } from "../service/http.js";
import { say } from "../strings/say.js";

const LOOK_MS = 2000;
const KINDS = /** @type {const} */ ([
  ["smoothed", say("witness.smoothed")],
  ["undefended", say("witness.undefended")],
]);

/** @param {any} found a finished certification @param {AbortSignal} signal */
export function witness(found, signal) {
  const body = h("div", {});
  const trouble = h("p", { class: "trouble", role: "alert" });
  const button = h("button", { type: "button" }, say("witness.look"));
  button.addEventListener("click", () => look(found, body, { button, trouble }, signal));
  show(body, h("div", { class: "actions" }, button), trouble);
  return h(
    "section",
    { class: "card" },
    h("h2", {}, say("witness.title")),
    h("p", { class: "hint" }, say("witness.hint")),
    body,
  );
}

/**
 * @param {any} found @param {HTMLElement} body
 * @param {{button: HTMLButtonElement, trouble: HTMLElement}} controls @param {AbortSignal} signal
 */
async function look(found, body, { button, trouble }, signal) {
  button.disabled = true;
  trouble.textContent = "";
  try {
    const shown = await ended(found.id, await begin(found.id, signal), body, signal);
    if (shown.status === "failed") throw new Problem({ detail: shown.failure.detail });
    show(body, ...shown.witnesses.map((/** @type {any} */ one) => entry(found, one, signal)), meaning(shown));
    announce(shown.witnesses.map((/** @type {any} */ one) => one.statement).join(" "));
  } catch (error) {
    if (signal.aborted) return;
    button.disabled = false;
    trouble.textContent = say("witness.failed", { reason: /** @type {Error} */ (error).message });
    show(body, h("div", { class: "actions" }, button), trouble);
  }
}

/** Asks for it; who may only read is shown what others asked for. @param {string} id @param {AbortSignal} signal */
async function begin(id, signal) {
  try {
    return await (await ask("POST", `certifications/${id}/witness`, { signal })).json();
  } catch (error) {
    if (error instanceof Problem && error.status === 403) return getJson(`certifications/${id}/witness`, signal);
    throw error;
  }
}

/** @param {string} id @param {any} shown @param {HTMLElement} body @param {AbortSignal} signal */
async function ended(id, shown, body, signal) {
  const status = h("p", { class: "hint", role: "status" });
  const isOver = (/** @type {any} */ now) => now.status !== "queued" && now.status !== "running";
  const draw = (/** @type {any} */ now) => {
    const words = now.status === "queued" ? say("witness.queued") : say("witness.running");
    if (!isOver(now) && status.textContent !== words) status.textContent = words;
  };
  if (isOver(shown)) return shown;
  show(body, status);
  draw(shown);
  return watchUntil(`certifications/${id}/witness`, isOver, draw, LOOK_MS, signal);
}

/** @param {any} found @param {any} one @param {AbortSignal} signal */
function entry(found, one, signal) {
  const shown = KINDS.filter(([kind]) => one[kind].outcome === "changed");
  return h(
    "div",
    {},
    h("p", { class: one.alarm ? "problem" : "" }, h("strong", {}, `σ ${one.sigma}. `), one.statement),
    ...shown.map(([kind, title]) => pictures(found, one, kind, title, signal)),
  );
}

/** The certified image, the changed one, and what was changed.
 * @param {any} found @param {any} one @param {string} kind @param {string} title @param {AbortSignal} signal */
function pictures(found, one, kind, title, signal) {
  const { prediction, distance, votes } = one[kind];
  const path = `certifications/${found.id}/witness/${one.certificate}/${kind}`;
  const counted = votes ? say("witness.votes", { votes: votes.counts[one[kind].class_index], n: votes.n }) : "";
  return h(
    "div",
    { class: "three" },
    figure(picture(found.links.input_image, say("picture.certified"), signal), say("tangible.unchanged"), say("tangible.certified")),
    figure(picture(`${path}.png`, say("witness.changed", { class: prediction }), signal), title, say("witness.at", { class: prediction, l2: distance.toFixed(6), votes: counted })),
    figure(picture(`${path}-difference.png`, say("witness.difference_picture"), signal), say("witness.difference"), say("witness.difference_hint")),
  );
}

/** @param {HTMLElement} image @param {string} title @param {string} text */
function figure(image, title, text) {
  return h("figure", {}, image, h("figcaption", {}, h("strong", {}, title), ` ${text}`));
}

/** @param {any} shown */
function meaning(shown) {
  const other = shown.other_f && ` ${say("witness.searched_by", { f: shown.other_f })}`;
  return h("p", { class: "hint" }, say("witness.meaning", { n: shown.settings.votes }), other);
}
