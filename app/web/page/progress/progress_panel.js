// A running certification: its progress, the votes so far, and a button to cancel it.

import { votesChart } from "../answer/votes_chart.js";
import { announce, h, show } from "../elements/dom.js";
import { duration } from "../elements/words.js";
import { recall } from "../service/memory.js";
import { say, sayName } from "../strings/say.js";

const SAY_EVERY_MS = 10_000;

/**
 * @param {any} found a certification that has not ended
 * @param {() => Promise<void>} cancel
 * @returns {{element: HTMLElement, onProgress: (p: import("../service/follow.js").Progress) => void, onLost: (lost: boolean) => void}}
 */
export function progressPanel(found, cancel) {
  const parts = {
    title: h("h2", { id: "answer-title", tabindex: "-1" }, say("progress.title")),
    bar: h("progress", { max: 1, value: 0, "aria-labelledby": "answer-title" }),
    done: h("span", { class: "done" }, say("common.waiting")),
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
    h("p", { class: "hint" }, say("progress.hint")),
    parts.votes,
  );
  const rate = rateMeter();
  let said = 0;
  return {
    element,
    onLost: (lost) => {
      parts.trouble.textContent = lost ? say("progress.lost") : " ";
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
    parts.done.textContent = position ? say("progress.queued", { place: position }) : say("common.waiting");
  } else {
    parts.done.textContent = say("progress.copies", { done, most: total });
    parts.bar.value = total ? done / total : 0;
  }
  parts.left.textContent = left_s === null ? " " : say("progress.left", { time: duration(left_s) });
}

/** Estimates the seconds left from the pace so far, for when the service reports no estimate. */
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
  const button = h("button", { type: "button" }, say("common.cancel"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await cancel();
    } catch (error) {
      button.disabled = false;
      trouble.textContent = say("common.not_cancelled", { reason: /** @type {Error} */ (error).message });
    }
  });
  return button;
}

/** @param {any} found */
function targetsOf(found) {
  const classNames = recall(found.id)?.classNames ?? [];
  return found.asked?.targets ?? [{ prompting: "template", class_names: classNames }];
}

/** Empty rows for the votes, so that nothing moves when they arrive. @param {any} found */
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
  const names = known.length ? known : votes.counts.map((_, index) => say("progress.class", { number: index + 1 }));
  const several = targets.length > 1 ? `, ${sayName("prompting", votes.prompting)}` : "";
  return votesChart({
    classNames: names,
    counts: votes.counts,
    ambiguous: votes.ambiguous,
    topIndex: votes.counts.indexOf(Math.max(...votes.counts, 1)),
    pALower: votes.p_a_lower,
    pBUpper: votes.p_b_upper,
    caption: say("progress.votes", { sigma: votes.sigma, wording: several, n: votes.n }),
    claimed: false,
  });
}
