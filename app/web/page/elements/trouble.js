// What is shown when a view cannot open.

import { Problem } from "../service/http.js";
import { say } from "../strings/say.js";
import { h, show } from "./dom.js";

/** @param {Element} into @param {unknown} error @param {AbortSignal} signal nothing is shown after it */
export function showTrouble(into, error, signal) {
  if (signal.aborted) return;
  const known = error instanceof Problem;
  if (known && error.status === 401) return show(into, h("h1", {}, say("trouble.sign_in")), h("p", { class: "lead" }, say("trouble.key_needed")), h("p", { class: "actions" }, h("button", { type: "button", class: "primary", click: () => document.dispatchEvent(new Event("key-needed")) }, say("trouble.enter_key"))));
  if (!known) console.error(error);
  const text = known ? error.message : say("trouble.unexpected");
  show(
    into,
    h("h1", {}, known && error.status === 404 ? say("trouble.not_found") : say("trouble.failed")),
    h("p", { class: "problem", role: "alert" }, text),
    h("p", {}, h("a", { href: "#/" }, say("common.certify_an_image"))),
  );
}
