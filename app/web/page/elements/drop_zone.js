// A place to drop files on, or to choose them with the keyboard.

import { freshId, h } from "./dom.js";

/**
 * @param {{label: string, hint: string, accept: string, multiple?: boolean,
 *   onFiles: (files: File[]) => void}} options
 */
export function dropZone({ label, hint, accept, multiple = false, onFiles }) {
  const id = freshId("files");
  const input = h("input", {
    type: "file",
    id,
    accept,
    multiple,
    "aria-describedby": `${id}-hint`,
    change: () => {
      onFiles([...input.files]);
      input.value = "";
    },
  });
  const zone = h(
    "div",
    { class: "drop" },
    input,
    h("label", { for: id }, h("strong", {}, label)),
    h("p", { class: "hint", id: `${id}-hint` }, hint),
  );
  zone.addEventListener("dragover", (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) onFiles(multiple ? files : files.slice(0, 1));
  });
  return zone;
}
