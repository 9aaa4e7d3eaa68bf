// The answer to a question with a goal: yes, or not shown. The service decides which.

import { h } from "../elements/dom.js";
import { plainly, targetName } from "../elements/words.js";
import { say } from "../strings/say.js";
import { mark } from "./verdict.js";

/** Nothing where the request asked how far. @param {any} found @param {any[][]} targets */
export function goalCard({ goal }, targets) {
  if (!goal) return null;
  const several = targets.length > 1;
  return h(
    "section",
    { class: `card goal ${goal.shown ? "yes" : "no"}` },
    h("p", { class: "eyebrow" }, say("goal_answer.question", { radius: goal.radius })),
    h("p", { class: "headline" }, mark(goal.shown ? "certified" : "abstained"), goal.headline),
    several ? h("ul", {}, ...targets.map((target, i) => h("li", {}, reason(goal.wordings[i], targetName(target[0]))))) : h("p", {}, plainly(goal.wordings[0].reason)),
    !goal.shown && h("p", { class: "hint" }, say("goal_answer.not_shown_hint")),
  );
}

/** @param {any} wording @param {string} name */
function reason(wording, name) {
  return say(wording.shown ? "goal_answer.wording_shown" : "goal_answer.wording_not_shown", { wording: name, reason: plainly(wording.reason) });
}

/** Whether one certificate reaches the goal, as a tag. @param {boolean} reached */
export function goalTag(reached) {
  return h("span", { class: `tag ${reached ? "certified" : "abstained"}` }, mark(reached ? "certified" : "abstained"), goalWord(reached));
}

/** @param {boolean} reached */
export function goalWord(reached) {
  return say(reached ? "goal_answer.yes" : "goal_answer.not_shown");
}
