// What the service says that the question can prove at most, before it is sent.

import { h } from "../elements/dom.js";
import { plainly } from "../elements/words.js";
import { postForm } from "../service/http.js";

const WAIT_MS = 250;

/** @param {() => [string, string][] | null} getFields what would be sent; null: nothing to warn about */
export function reachWarning(getFields) {
  const element = h("p", { class: "hint note", role: "status" });
  let timer = 0;
  let asking = new AbortController();
  const look = async () => {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const fields = getFields();
    const note = fields ? await askReach(fields, signal) : "";
    if (!signal.aborted) element.textContent = note;
  };
  return {
    element,
    changed: () => {
      clearTimeout(timer);
      timer = window.setTimeout(look, WAIT_MS);
    },
  };
}

/** Empty where all can be proved, and where the service does not say. @param {[string, string][]} fields @param {AbortSignal} signal */
async function askReach(fields, signal) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  const found = await postForm("reach", form, signal).catch(() => ({ note: "" }));
  return plainly(found.note ?? "");
}
