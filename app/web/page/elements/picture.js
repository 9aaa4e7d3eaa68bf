// Shows pictures from the server without an address that could leak a key.

import { getBlob } from "../service/http.js";
import { say } from "../strings/say.js";
import { h, show } from "./dom.js";

/**
 * An image element for a path. Its blob address is freed when the view closes.
 * @param {string} path @param {string} alt @param {AbortSignal} signal @param {string} missing
 *   shown if there is no such picture
 */
export function picture(path, alt, signal, missing = say("picture.gone")) {
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

/** The integers of a picture, as they are in its file. @param {Blob} blob @returns {Promise<ImageData>} */
export async function readPixels(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = h("canvas", { width: bitmap.width, height: bitmap.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
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
