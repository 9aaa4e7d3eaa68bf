// A certification while it runs: how far, what the votes say so far, and a way to stop it.

import { votesChart } from "../answer/votes_chart.js";
import { announce, h, show } from "../elements/dom.js";
import { count, duration, PROMPTINGS } from "../elements/words.js";
import { recall } from "../service/memory.js";

const SAY_EVERY_MS = 10_000;

/**
 * @param {any} found a certification that has not ended
 * @param {() => Promise<void>} cancel
 * @returns {{element: HTMLElement, onProgress: (p: import("../service/follow.js").Progress) => void, onLost: (lost: boolean) => void}}
 */
export function progressPanel(found, cancel) {
  const parts = {
    title: h("h2", { id: "answer-title", tabindex: "-1" }, "Asking the model"),
    bar: h("progress", { max: 1, value: 0, "aria-labelledby": "answer-title" }),
    done: h("span", { class: "done" }, "Waiting for its turn"),
    left: h("span", { class: "left" }, " "),
    trouble: h("p", { class: "trouble", role: "status" }, " "),
    votes: h("div", { class: "live" }, ...emptyVotes(found)),
  };
  const element = h(
    "section",
    { class: "card progress" },
    h("div", { class: "progress-head" }, parts.title, cancelButton(cancel, parts.trouble)),
    parts.bar,
    h("p", { class: "progress-figures" }, parts.done, parts.left),
    parts.trouble,
    h("p", { class: "hint" }, "Noisy copies of the image are shown to the model, and each votes for a class. Sampling ends as soon as the question is answered. The votes so far are there to be watched; they claim nothing yet."),
    parts.votes,
  );
  const rate = rateMeter();
  let said = 0;
  return {
    element,
    onLost: (lost) => {
      parts.trouble.textContent = lost ? "The service does not answer at the moment. Nothing is lost; asking again." : " ";
    },
    onProgress: (progress) => {
      showFigures(parts, progress, progress.estimated_s ?? rate(progress));
      if (progress.live.length) show(parts.votes, ...progress.live.map((votes) => liveVotes(votes, found)));
      if (Date.now() - said > SAY_EVERY_MS) announce(`${parts.done.textContent}. ${parts.left.textContent}`);
      if (Date.now() - said > SAY_EVERY_MS) said = Date.now();
    },
  };
}

/** @param {any} parts @param {import("../service/follow.js").Progress} progress @param {number | null} left_s */
function showFigures(parts, progress, left_s) {
  const { samples_done: done, samples_total: total, queue_position: position } = progress;
  if (progress.status === "queued") {
    parts.done.textContent = position ? `In the queue, place ${count(position)}` : "Waiting for its turn";
  } else {
    parts.done.textContent = `${count(done)} of at most ${count(total)} noisy copies`;
    parts.bar.value = total ? done / total : 0;
  }
  parts.left.textContent = left_s === null ? " " : `${duration(left_s)} left at most`;
}

/** Seconds left from the pace since the first look, where the service does not say. */
function rateMeter() {
  /** @type {{at: number, done: number} | null} */
  let first = null;
  return (/** @type {import("../service/follow.js").Progress} */ { samples_done: done, samples_total: total }) => {
    first ??= { at: Date.now(), done };
    const seconds = (Date.now() - first.at) / 1000;
    const pace = (done - first.done) / seconds;
    return seconds > 2 && pace > 0 ? (total - done) / pace : null;
  };
}

/** @param {() => Promise<void>} cancel @param {HTMLElement} trouble */
function cancelButton(cancel, trouble) {
  const button = h("button", { type: "button" }, "Cancel");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await cancel();
    } catch (error) {
      button.disabled = false;
      trouble.textContent = `It could not be cancelled. ${/** @type {Error} */ (error).message}`;
    }
  });
  return button;
}

/** @param {any} found */
function targetsOf(found) {
  const classNames = recall(found.id)?.classNames ?? [];
  return found.asked?.targets ?? [{ prompting: "template", class_names: classNames }];
}

/** The rows that votes will fill, so that nothing moves when they come. @param {any} found */
function emptyVotes(found) {
  const sigmas = found.asked?.sigmas ?? recall(found.id)?.sigmas ?? [];
  return sigmas.flatMap((/** @type {number} */ sigma) =>
    targetsOf(found).map((/** @type {any} */ target, /** @type {number} */ target_index) =>
      liveVotes(
        { sigma, prompting: target.prompting, target_index, n: 0, counts: [], ambiguous: 0, p_a_lower: 0, p_b_upper: 1 },
        found,
      ),
    ),
  );
}

/** @param {import("../service/follow.js").LiveVotes} votes @param {any} found */
function liveVotes(votes, found) {
  const targets = targetsOf(found);
  const known = targets[votes.target_index]?.class_names ?? [];
  const names = known.length ? known : votes.counts.map((_, index) => `class ${index + 1}`);
  const several = targets.length > 1 ? `, ${PROMPTINGS[votes.prompting] ?? votes.prompting}` : "";
  return votesChart({
    classNames: names,
    counts: votes.counts,
    ambiguous: votes.ambiguous,
    topIndex: votes.counts.indexOf(Math.max(...votes.counts, 1)),
    pALower: votes.p_a_lower,
    pBUpper: votes.p_b_upper,
    caption: `Noise σ ${votes.sigma}${several} · ${count(votes.n)} votes so far`,
    claimed: false,
  });
}
