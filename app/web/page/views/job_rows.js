// The rows of the list of jobs: a certification, or images sent together with a button that opens them.

import { goalTag } from "../answer/goal.js";
import { mark } from "../answer/verdict.js";
import { h, show } from "../elements/dom.js";
import { picture } from "../elements/picture.js";
import { length, when } from "../elements/words.js";
import { hasEnded, watchUntil } from "../service/follow.js";
import { Problem } from "../service/http.js";
import { fileName } from "../service/memory.js";
import { count, say, sayName } from "../strings/say.js";

const SHOWN = 4;
const POLL_MS = 2000;

/** @param {AbortSignal} signal ends what the rows ask */
export function jobRows(signal) {
  const element = h("tbody");
  const batches = new Set();
  return {
    element,
    /** @param {any[]} found */
    add: (found) => {
      for (const one of found) {
        if (one.batch_id === null) element.append(jobRow(one, signal));
        else if (!batches.has(one.batch_id)) element.append(batchRow(one, signal));
        batches.add(one.batch_id);
      }
    },
  };
}

/** @param {any} one @param {AbortSignal} signal @param {string} [kind] */
function jobRow(one, signal, kind = "") {
  const said = h("td", {}, answers(one));
  if (!hasEnded(one)) follow(`certifications/${one.id}`, hasEnded, (now) => show(said, hasEnded(now) ? answers(asItem(now)) : progress(now)), said, signal);
  return h(
    "tr",
    { class: kind },
    h("td", {}, h("a", { href: `#/certifications/${one.id}`, class: "job" }, thumbnail(one, signal), h("span", {}, h("span", {}, fileName(one.id) || one.id.slice(0, 8)), reference(one)))),
    said,
    h("td", {}, when(one.submitted_at)),
    h("td", {}, one.model.id),
  );
}

/** @param {any} first of the images that were sent together @param {AbortSignal} signal */
function batchRow(first, signal) {
  const said = h("td", {}, "…");
  const toggle = h("button", { type: "button", class: "quiet", "aria-expanded": "false", disabled: true }, say("jobs.open"));
  const images = h("span", {}, say("jobs.several"));
  const row = h(
    "tr",
    { class: "batch" },
    h("td", {}, h("span", { class: "job" }, thumbnail(first, signal), h("span", {}, h("a", { href: `#/batches/${first.batch_id}` }, images), reference(first), toggle))),
    said,
    h("td", {}, when(first.submitted_at)),
    h("td", {}, first.model.id),
  );
  /** @type {HTMLElement[]} */
  let opened = [];
  let opening = new AbortController();
  let batch = /** @type {any} */ (null);
  const label = () => {
    const open = opened.length > 0;
    toggle.disabled = !batch; // nothing to open yet
    toggle.setAttribute("aria-expanded", String(open));
    toggle.textContent = say(open ? "jobs.close" : "jobs.open");
    toggle.setAttribute("aria-label", say(open ? "jobs.close_batch" : "jobs.open_batch", { images: say("count.image", { n: batch?.total ?? 0 }) }));
  };
  toggle.addEventListener("click", () => {
    if (opened.length) {
      opening.abort();
      opened.forEach((each) => each.remove());
      opened = [];
    } else {
      opening = new AbortController();
      const open = AbortSignal.any([signal, opening.signal]);
      opened = batch.certifications.map((/** @type {any} */ one) => jobRow(asItem(one), open, "of-batch"));
      row.after(...opened);
    }
    label();
  });
  follow(
    `batches/${first.batch_id}`,
    (now) => now.done === now.total,
    (now) => {
      batch = now;
      images.textContent = say("count.image", { n: now.total });
      show(said, batchAnswer(now));
      label();
    },
    said,
    signal,
  );
  return row;
}

/** @param {any} one */
function reference({ reference: given }) {
  return given && h("span", { class: "hint note" }, given);
}

/** Watches an address; what ends that early is shown. @param {string} address @param {(found: any) => boolean} isOver @param {(found: any) => void} draw @param {HTMLElement} said @param {AbortSignal} signal */
function follow(address, isOver, draw, said, signal) {
  watchUntil(address, isOver, draw, POLL_MS, signal).catch((error) => {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) console.error(error);
    show(said, h("span", { class: "problem" }, error.message));
  });
}

/** A whole certification as the list shows it. @param {any} found */
function asItem(found) {
  return { ...found, outcomes: found.certificates ?? [] };
}

/** @param {any} one @param {AbortSignal} signal */
function thumbnail(one, signal) {
  const small = picture(one.links.input_image, "", signal, "");
  small.classList.add("thumbnail");
  return small;
}

/** @param {any} one */
function progress({ status, progress: now }) {
  if (status !== "running" || !now?.samples_total) return h("span", { class: `tag ${status}` }, sayName("status", status));
  return h("span", {}, h("progress", { max: now.samples_total, value: now.samples_done, "aria-label": say("jobs.copies") }), " ", h("small", { class: "hint" }, say("jobs.samples", { done: now.samples_done, most: now.samples_total })));
}

/** @param {any} batch */
function batchAnswer({ done, total, certifications, refused }) {
  const answered = certifications.map((/** @type {any} */ c) => c.goal).filter(Boolean);
  const yes = answered.filter((/** @type {any} */ goal) => goal.shown).length;
  return h(
    "div",
    {},
    done < total && h("progress", { max: total, value: done, "aria-label": say("batch.bar") }),
    h("div", {}, say("jobs.ended", { done, images: say("count.image", { n: total }) }) + (refused.length ? say("jobs.refused", { n: refused.length }) : "")),
    answered.length > 0 && h("div", {}, say("jobs.goal_of_batch", { radius: answered[0].radius, yes, not: answered.length - yes })),
  );
}

/** @param {any} one */
function answers({ status, outcomes, goal }) {
  if (!outcomes.length) return h("span", { class: `tag ${status}` }, sayName("status", status));
  const said = (/** @type {any} */ c) => (c.outcome === "certified" ? `${c.prediction}, ${length(c.radius)}` : say("outcome.abstained"));
  return h(
    "ul",
    { class: "plain answers" },
    goal && h("li", {}, say("jobs.goal", { radius: goal.radius }), " ", goalTag(goal.shown)),
    ...outcomes.slice(0, SHOWN).map((/** @type {any} */ c) => h("li", {}, mark(c.outcome), ` σ ${c.sigma}: ${said(c)}`)),
    outcomes.length > SHOWN && h("li", { class: "hint" }, say("jobs.more_outcomes", { n: outcomes.length - SHOWN })),
  );
}
