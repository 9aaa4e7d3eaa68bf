// The dialog that takes an API key, opened by its button or by an answer that asks for one.

import { getJson } from "../service/http.js";
import { hasKey, setKey } from "../service/key.js";
import { find } from "./dom.js";

/** @param {() => void} reopen shows the current view again, now with or without a key */
export function watchKey(reopen) {
  const dialog = find("#key-dialog");
  const button = find("#sign-in");
  button.addEventListener("click", () => (hasKey() ? signOut(reopen) : openDialog(dialog, "")));
  document.addEventListener("key-needed", () => {
    button.hidden = false; // a service without keys needs no sign-in
    if (dialog.open) return;
    const refused = hasKey();
    if (refused) setKey(null);
    openDialog(dialog, refused ? "The service does not take this key any more: it was revoked, or its time is over." : "");
  });
  document.addEventListener("key-changed", () => {
    button.textContent = hasKey() ? "Sign out" : "Sign in";
  });
  find("#key-form").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
    const chosen = /** @type {HTMLButtonElement} */ (event.submitter);
    if (chosen?.value === "cancel") return;
    event.preventDefault();
    if (await tryKey()) {
      dialog.close();
      reopen();
    }
  });
}

/** @param {HTMLDialogElement} dialog @param {string} why */
function openDialog(dialog, why) {
  find("#key-problem").textContent = why;
  find("#key-input").value = "";
  dialog.showModal();
  find("#key-input").focus();
}

/** Whether the service takes the key that was typed. */
async function tryKey() {
  const value = find("#key-input").value.trim();
  const problem = find("#key-problem");
  if (!/^[\x21-\x7e]+$/.test(value)) {
    problem.textContent = "A key is one word of letters, digits and signs.";
    return false;
  }
  setKey(value);
  try {
    await getJson("models");
  } catch (error) {
    setKey(null);
    problem.textContent = /** @type {Error} */ (error).message;
    return false;
  }
  find("#key-input").value = "";
  return true;
}

/** @param {() => void} reopen */
function signOut(reopen) {
  setKey(null);
  reopen();
}
