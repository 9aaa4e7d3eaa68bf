// A learning job: its curve, epoch by epoch, and how it ended.

import { announce, h, show } from "../elements/dom.js";
import { hasEnded, watchUntil } from "../service/follow.js";
import { ask } from "../service/http.js";
import { say, sayName } from "../strings/say.js";
import { learningChart } from "./learning_chart.js";

const POLL_MS = 1000;

/** @param {string} id @param {AbortSignal} signal */
export function learningPanel(id, signal) {
  const parts = {
    title: h("h2", { tabindex: "-1" }, say("learning.title")),
    facts: h("p", { class: "hint" }, " "),
    bar: h("progress", { max: 1, value: 0, "aria-label": say("learning.bar") }),
    done: h("p", { class: "progress-figures" }, say("common.waiting")),
    chart: h("div", { class: "learning-plot" }),
    end: h("div", { role: "status" }),
    cancel: h("button", { type: "button" }, say("common.cancel")),
  };
  parts.cancel.addEventListener("click", () => ask("DELETE", `prompt-jobs/${id}`).catch(() => (parts.cancel.disabled = false)));
  const watched = watchUntil(`prompt-jobs/${id}`, hasEnded, (job) => showJob(job, parts), POLL_MS, signal);
  watched.then((job) => showEnd(job, parts)).catch((error) => {
    if (!signal.aborted) show(parts.end, h("p", { class: "problem" }, error.message));
  });
  return h("section", { class: "card" }, h("div", { class: "progress-head" }, parts.title, parts.cancel), parts.facts, parts.bar, parts.done, parts.chart, parts.end);
}

/** @param {any} job @param {any} parts */
function showJob(job, parts) {
  parts.title.textContent = say(job.status === "finished" ? "learning.learned" : "learning.running", { prompt: job.prompt_id });
  parts.facts.textContent = say("learning.facts", { images: say("count.image", { n: job.images }), classes: say("count.class", { n: job.class_names.length }), names: job.class_names.join(", ") });
  parts.bar.max = job.settings.epochs;
  parts.bar.value = job.epochs_done;
  if (job.status !== "queued") parts.done.textContent = say("learning.epochs", { done: job.epochs_done, epochs: say("count.epoch", { n: job.settings.epochs }) });
  show(parts.chart, learningChart(job.curve, job.settings.epochs));
}

/** @param {any} job @param {any} parts */
function showEnd(job, parts) {
  parts.cancel.hidden = true;
  /** @type {Record<string, import("../elements/dom.js").Child[]>} */
  const ends = {
    finished: [h("p", {}, say("learning.finished")), h("p", {}, h("a", { href: "#/", class: "button" }, say("common.certify_an_image")))],
    failed: [h("p", { class: "problem" }, job.failure?.detail)],
    cancelled: [h("p", {}, say("learning.cancelled"))],
  };
  show(parts.end, ...ends[job.status], h("p", {}, h("a", { href: "#/prompts" }, say("learning.another"))));
  announce(say("learning.ended", { status: sayName("status", job.status) }));
}
