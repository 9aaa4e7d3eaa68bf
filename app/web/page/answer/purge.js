// Removes what has ended from the service, after saying what that removes and what it keeps.

import { freshId, h } from "../elements/dom.js";
import { ask } from "../service/http.js";
import { say } from "../strings/say.js";

/** @param {any} found a certification that has ended */
export function purge({ id }) {
  const title = freshId("purge");
  const trouble = h("p", { class: "trouble", role: "alert" });
  const confirm = h("button", { type: "button", class: "danger" }, say("purge.confirm"));
  const dialog = h(
    "dialog",
    { "aria-labelledby": title },
    h("h2", { id: title }, say("purge.question")),
    h("p", {}, h("strong", {}, say("purge.removed")), " ", say("purge.removed_what")),
    h("p", {}, h("strong", {}, say("purge.kept")), " ", say("purge.kept_what")),
    trouble,
    h("div", { class: "actions" }, confirm, h("button", { type: "button", autofocus: true, click: () => dialog.close() }, say("common.cancel"))),
  );
  confirm.addEventListener("click", async () => {
    confirm.disabled = true;
    try {
      await ask("DELETE", `certifications/${id}`);
      location.hash = "#/jobs";
    } catch (error) {
      confirm.disabled = false;
      trouble.textContent = say("purge.failed", { reason: /** @type {Error} */ (error).message });
    }
  });
  return h("section", { class: "card" }, h("h2", {}, say("purge.title")), h("p", { class: "hint" }, say("purge.hint")), h("div", { class: "actions" }, h("button", { type: "button", click: () => dialog.showModal() }, say("purge.open"))), dialog);
}
