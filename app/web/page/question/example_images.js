// Real images with a known class, for whoever has none at hand. Each comes with its learned prompt.

import { h, show } from "../elements/dom.js";
import { say, sayName } from "../strings/say.js";

/**
 * @typedef {{file: string, picture: string, class: string, prompt: string,
 *   template: string, credit: string, levels?: string[]}} Example `levels`: for an image whose votes are divided there
 */

/**
 * Empty until the list has arrived, and where the service has none of the prompts. What an example
 * asks is known at the click; its file arrives later, or not at all.
 * @param {any[]} prompts @param {(example: Example, file: Promise<File>) => void} chosen
 */
export function exampleImages(prompts, chosen) {
  const element = h("div", { class: "examples" });
  const known = new Set(prompts.map((p) => p.id));
  list().then((examples) => {
    const usable = examples.filter((one) => known.has(one.prompt));
    if (!usable.length) return;
    show(
      element,
      h("p", { class: "hint" }, say("examples.title")),
      h("div", {}, ...usable.map((one) => button(one, chosen))),
      h("p", { class: "hint" }, [...new Set(usable.map((one) => one.credit))].join(" · ")),
    );
  });
  return element;
}

/** @returns {Promise<Example[]>} */
async function list() {
  const answer = await fetch("static/examples/examples.json").catch(() => null);
  return answer?.ok ? answer.json() : [];
}

/** @param {Example} example @param {(example: Example, file: Promise<File>) => void} chosen */
function button(example, chosen) {
  return h(
    "button",
    { type: "button", class: "quiet", click: () => chosen(example, load(example)) },
    h("img", { src: `static/examples/${example.picture}`, alt: "", width: 72, height: 72, loading: "lazy" }),
    h("strong", {}, example.class),
    h("small", {}, sayName("example", example.file)),
  );
}

/** @param {Example} example @returns {Promise<File>} */
async function load({ file }) {
  const answer = await fetch(`static/examples/${file}`);
  if (!answer.ok) throw new Error(answer.statusText);
  return new File([await answer.blob()], file);
}
