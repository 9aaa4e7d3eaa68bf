// What is shown where a view cannot be.

import { Problem } from "../service/http.js";
import { h, show } from "./dom.js";

/** @param {Element} into @param {unknown} error @param {AbortSignal} signal nothing is shown after it */
export function showTrouble(into, error, signal) {
  if (signal.aborted) return;
  const known = error instanceof Problem;
  if (known && error.status === 401) return show(into, h("h1", {}, "Sign in to go on"), h("p", { class: "lead" }, "This service answers to API keys; its operator makes them with promptsmooth keys add."), h("p", { class: "actions" }, h("button", { type: "button", class: "primary", click: () => document.dispatchEvent(new Event("key-needed")) }, "Enter a key")));
  if (!known) console.error(error);
  const text = known ? error.message : "This page met something that it does not understand.";
  show(
    into,
    h("h1", {}, known && error.status === 404 ? "Not here" : "That did not work"),
    h("p", { class: "problem", role: "alert" }, text),
    h("p", {}, h("a", { href: "#/" }, "Certify an image")),
  );
}
