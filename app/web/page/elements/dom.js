// Elements made by code. What a server sent becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, string | number | boolean | null | undefined | EventListener>} Attributes
 */

/**
 * An HTML element. Attributes that are functions become listeners of that event; false, null and
 * undefined leave an attribute or a child out.
 * @param {string} tag @param {Attributes} [attributes] @param {...Child} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * The same for SVG.
 * @param {string} tag @param {Attributes} [attributes] @param {...Child} children
 * @returns {any}
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** @param {Element} element @param {Attributes} attributes @param {Child[]} children */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/** @param {Child[]} children */
function nodes(children) {
  return children
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * Replaces all that is in an element.
 * @param {Element} element @param {...Child} children
 */
export function show(element, ...children) {
  element.replaceChildren(...nodes(children));
}

let counter = 0;

/** An id that nothing else on the page has. @param {string} stem */
export function freshId(stem) {
  counter += 1;
  return `${stem}-${counter}`;
}

/** @param {string} selector @returns {any} */
export function find(selector) {
  return document.querySelector(selector);
}

let speaking = 0;

/** Says a sentence to a screen reader, once. @param {string} sentence */
export function announce(sentence) {
  const region = find("#live");
  region.textContent = "";
  clearTimeout(speaking);
  speaking = window.setTimeout(() => (region.textContent = sentence), 50);
}
