// Pictures that a server sent, shown without an address that could leak a key.

import { getBlob } from "../service/http.js";
import { h, show } from "./dom.js";

/**
 * An image element for a path. Its address is freed when the view is left.
 * @param {string} path @param {string} alt @param {AbortSignal} signal @param {string} missing
 *   what is said where there is no such picture
 */
export function picture(path, alt, signal, missing = "This picture is no longer stored.") {
  const frame = h("div", { class: "picture" });
  getBlob(path, signal).then(
    (blob) => show(frame, blobImage(blob, alt, signal)),
    (error) => {
      if (!signal.aborted) show(frame, h("p", { class: "empty" }, missing, h("span", { class: "sr" }, ` ${error.message}`)));
    },
  );
  return frame;
}

/** @param {Blob} blob @param {string} alt @param {AbortSignal} signal */
export function blobImage(blob, alt, signal) {
  const url = URL.createObjectURL(blob);
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));
  return h("img", { src: url, alt });
}

/** @param {string} base64 @param {string} type */
export function decodeBlob(base64, type = "image/png") {
  return new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type });
}

/** Hands a file to the browser's downloads. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
