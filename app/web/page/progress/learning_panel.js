// A prompt while it is learned: its curve, epoch by epoch, and how it ended.

import { announce, h, show } from "../elements/dom.js";
import { plural } from "../elements/words.js";
import { hasEnded, wait } from "../service/follow.js";
import { ask, getJson, Problem } from "../service/http.js";
import { learningChart } from "./learning_chart.js";

const POLL_MS = 1000;

/** @param {string} id @param {AbortSignal} signal */
export function learningPanel(id, signal) {
  const parts = {
    title: h("h2", { tabindex: "-1" }, "Learning a prompt"),
    facts: h("p", { class: "hint" }, " "),
    bar: h("progress", { max: 1, value: 0, "aria-label": "Epochs done" }),
    done: h("p", { class: "progress-figures" }, "Waiting for its turn"),
    chart: h("div", { class: "learning-plot" }),
    end: h("div", { role: "status" }),
    cancel: h("button", { type: "button" }, "Cancel"),
  };
  parts.cancel.addEventListener("click", () => ask("DELETE", `prompt-jobs/${id}`).catch(() => (parts.cancel.disabled = false)));
  watch(id, parts, signal).catch((error) => {
    if (!signal.aborted) show(parts.end, h("p", { class: "problem" }, error.message));
  });
  return h("section", { class: "card" }, h("div", { class: "progress-head" }, parts.title, parts.cancel), parts.facts, parts.bar, parts.done, parts.chart, parts.end);
}

/** @param {string} id @param {any} parts @param {AbortSignal} signal */
async function watch(id, parts, signal) {
  for (;;) {
    const job = await look(id, signal);
    if (job) showJob(job, parts);
    if (job && hasEnded(job)) return showEnd(job, parts);
    await wait(POLL_MS, signal);
  }
}

/** @param {string} id @param {AbortSignal} signal @returns {Promise<any>} or null while it is away */
async function look(id, signal) {
  try {
    return await getJson(`prompt-jobs/${id}`, signal);
  } catch (error) {
    if (error instanceof Problem && error.passes) return null;
    throw error;
  }
}

/** @param {any} job @param {any} parts */
function showJob(job, parts) {
  parts.title.textContent = `${job.status === "finished" ? "Learned" : "Learning"} ${job.prompt_id}`;
  parts.facts.textContent = `${plural(job.images, "image")} of ${plural(job.class_names.length, "class", "classes")}: ${job.class_names.join(", ")}`;
  parts.bar.max = job.settings.epochs;
  parts.bar.value = job.epochs_done;
  if (job.status !== "queued") parts.done.textContent = `${job.epochs_done} of ${plural(job.settings.epochs, "epoch")}`;
  show(parts.chart, learningChart(job.curve, job.settings.epochs));
}

/** @param {any} job @param {any} parts */
function showEnd(job, parts) {
  parts.cancel.hidden = true;
  /** @type {Record<string, import("../elements/dom.js").Child[]>} */
  const ends = {
    finished: [h("p", {}, "It can be chosen for a certification at once. "), h("p", {}, h("a", { href: "#/", class: "button" }, "Certify an image"))],
    failed: [h("p", { class: "problem" }, job.failure?.detail)],
    cancelled: [h("p", {}, "Cancelled. There is no prompt of this name.")],
  };
  show(parts.end, ...ends[job.status], h("p", {}, h("a", { href: "#/prompts" }, "Learn another")));
  announce(`Learning ${job.status}`);
}
