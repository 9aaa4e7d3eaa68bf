// The page's sentences in the reader's language, and in English where that has none.

import ENGLISH from "./en.js";
import { TRANSLATIONS } from "./languages.js";

/**
 * One form, or the plural forms of a language.
 * @typedef {string | Partial<Record<Intl.LDMLPluralRule, string>>} Message
 */

const chosen = await load(choose(navigator.languages));

/** The language of the page, a BCP 47 tag. */
export const language = chosen.language;

const { messages } = chosen;
const plurals = new Intl.PluralRules(language);
const whole = new Intl.NumberFormat(language);

/** The first of the reader's languages that the page has, or its base. @param {readonly string[]} wanted */
function choose(wanted) {
  const known = ["en", ...TRANSLATIONS];
  const asked = wanted.flatMap((tag) => [tag, tag.split("-")[0]]);
  return asked.find((tag) => known.includes(tag)) ?? "en";
}

/** @param {string} wanted @returns {Promise<{language: string, messages: Record<string, Message>}>} */
async function load(wanted) {
  const english = { language: "en", messages: ENGLISH };
  if (wanted === "en") return english;
  const found = await import(`./${wanted}.js`).catch(() => null);
  return found ? { language: wanted, messages: { ...ENGLISH, ...found.default } } : english;
}

/** 12345 as the language writes it. @param {number} n */
export function count(n) {
  return whole.format(n);
}

/**
 * The sentence of a key.
 * @param {string} key @param {Record<string, string | number>} [values] what stands for each {name}
 */
export function say(key, values = {}) {
  return formOf(key, values).replace(/\{(\w+)\}/g, (_, name) => written(values[name]));
}

/**
 * The same with elements in the sentence.
 * @param {string} key @param {Record<string, string | number | Node>} values
 * @returns {(string | Node)[]}
 */
export function sayAround(key, values) {
  const parts = formOf(key, values).split(/\{(\w+)\}/); // every other part is a name
  return parts.map((part, i) => (i % 2 ? written(values[part]) : part));
}

/** What the page calls a value of the service; the value itself where it has no name for it.
 * @param {string} kind @param {string} value */
export function sayName(kind, value) {
  const key = `${kind}.${value}`;
  return key in messages ? say(key) : value;
}

/** @param {string} key @param {Record<string, unknown>} values @returns {string} */
function formOf(key, values) {
  const message = messages[key];
  if (typeof message === "string") return message;
  return message[plurals.select(Number(values.n))] ?? message.other ?? key;
}

/** Whole numbers are grouped as the language does it; others are figures and stay as they are.
 * @template Value @param {Value} value @returns {Value | string} */
function written(value) {
  if (value instanceof Node) return value;
  return Number.isInteger(value) ? count(Number(value)) : String(value);
}
