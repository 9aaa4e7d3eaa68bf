// The dialog for signing in, with an API key or at the organisation's own service. Its button opens
// it, and so does an answer that requires a key.

import { getJson } from "../service/http.js";
import { hasKey, setKey } from "../service/key.js";
import { findOffer, leave } from "../service/sign_on.js";
import { say } from "../strings/say.js";
import { find } from "./dom.js";

/** @param {() => void} reopen shows the current view again, with or without a key
 * @param {string} trouble why somebody who comes back is not signed in */
export function watchKey(reopen, trouble) {
  const dialog = find("#key-dialog");
  const button = find("#sign-in");
  button.textContent = hasKey() ? say("sign_in.out") : say("sign_in.in");
  button.hidden = !hasKey();
  offerSignOn();
  if (trouble) openDialog(dialog, trouble);
  button.addEventListener("click", () => (hasKey() ? signOut(reopen) : openDialog(dialog, "")));
  document.addEventListener("key-needed", () => {
    button.hidden = false; // a service without keys needs no sign-in
    if (dialog.open) return;
    const refused = hasKey();
    if (refused) setKey(null);
    openDialog(dialog, refused ? say("sign_in.refused") : "");
  });
  document.addEventListener("key-changed", () => {
    button.textContent = hasKey() ? say("sign_in.out") : say("sign_in.in");
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

/** Shows the way to the organisation, where the service has one. */
async function offerSignOn() {
  const offer = await findOffer();
  if (!offer) return;
  find("#organisation").hidden = false;
  find("#organisation-button").addEventListener("click", () => leave(offer));
}

/** @param {HTMLDialogElement} dialog @param {string} why */
function openDialog(dialog, why) {
  find("#key-problem").textContent = why;
  find("#key-input").value = "";
  dialog.showModal();
  find("#key-input").focus();
}

/** Whether the service accepts the key that was typed. */
async function tryKey() {
  const value = find("#key-input").value.trim();
  const problem = find("#key-problem");
  if (!/^[\x21-\x7e]+$/.test(value)) {
    problem.textContent = say("sign_in.expected");
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
