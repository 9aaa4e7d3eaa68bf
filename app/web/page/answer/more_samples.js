// More samples later: the next part of the same request, which is no new attempt.

import { h } from "../elements/dom.js";
import { ask } from "../service/http.js";
import { recall, remember } from "../service/memory.js";
import { say } from "../strings/say.js";

const LAST_END_FROM = 0.9;
const SETTLED = ["target_reached", "contradiction"];

/** Nothing where the request named no cap. @param {any} found a finished certification */
export function moreSamples(found) {
  const [{ n_max: first, n_cap: cap, continuations: done = 0 }] = found.certificates;
  if (!cap) return null;
  const ends = listEnds(first, cap);
  const settled = found.certificates.every((/** @type {any} */ c) => SETTLED.includes(c.stopped_by));
  const over = settled || done + 1 >= ends.length;
  return h(
    "section",
    { class: "card" },
    h("h2", {}, say("more.title")),
    h("p", { class: "hint" }, over ? ending(settled, cap) : say("more.hint", { cap })),
    !over && goOn(found.id, ends[done + 1]),
  );
}

/** @param {boolean} settled @param {number} cap */
function ending(settled, cap) {
  return settled ? say("more.settled") : say("more.over", { cap });
}

/** @param {string} id @param {number} until */
function goOn(id, until) {
  const trouble = h("p", { class: "trouble", role: "alert" });
  const button = h("button", { type: "button" }, say("more.go_on", { n: until }));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const next = await (await ask("POST", `certifications/${id}/continue`)).json();
      const before = recall(id);
      if (before) remember(next.id, { ...before, submittedAt: next.submitted_at });
      location.hash = `#/certifications/${next.id}`;
    } catch (error) {
      button.disabled = false;
      trouble.textContent = say("more.failed", { reason: /** @type {Error} */ (error).message });
    }
  });
  return h("div", {}, h("div", { class: "actions" }, button), trouble);
}

/** The samples at the end of each part: the first, its doubles below the cap, and the cap.
 * @param {number} first @param {number} cap */
function listEnds(first, cap) {
  const ends = [];
  for (let end = first; end < LAST_END_FROM * cap; end *= 2) ends.push(end);
  return [...ends, cap];
}
