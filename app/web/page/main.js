// The page: which view an address after # shows, whether the service is ready, who is signed in.

import { announce, find, h, show } from "./elements/dom.js";
import { watchKey } from "./elements/sign_in.js";
import { showTrouble } from "./elements/trouble.js";
import { getJson, Problem } from "./service/http.js";

/**
 * A view fills main and returns; what goes on afterwards, ends with the signal.
 * @typedef {(main: HTMLElement, id: string, signal: AbortSignal) => Promise<void> | void} View
 */

/** @type {[RegExp, string, string, string][]} address, section, title, module */
const VIEWS = [
  [/^\/?$/, "#/", "Certify", "./views/certify.js"],
  [/^\/certifications\/(\w+)$/, "#/jobs", "Certification", "./views/certification.js"],
  [/^\/batches\/(\w+)$/, "#/jobs", "Batch", "./views/batch.js"],
  [/^\/jobs$/, "#/jobs", "Jobs", "./views/jobs.js"],
  [/^\/audit$/, "#/audit", "Audit", "./views/audit.js"],
  [/^\/prompts(?:\/jobs\/(\w+))?$/, "#/prompts", "Prompts", "./views/prompts.js"],
  [/^\/models$/, "#/models", "Models", "./views/models.js"],
];
const READY_EVERY_MS = 10_000;

let current = new AbortController();

async function open() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const address = location.hash.slice(1);
  const found = VIEWS.find(([pattern]) => pattern.test(address));
  const main = find("#content");
  if (!found) return show(main, h("h1", {}, "There is nothing here"));
  const [pattern, section, title, path] = found;
  document.title = `${title} · promptsmooth`;
  for (const link of document.querySelectorAll("nav a"))
    if (link.getAttribute("href") === section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  const module = await import(path);
  if (signal.aborted) return;
  try {
    await module.open(main, pattern.exec(address)?.[1] ?? "", signal);
  } catch (error) {
    showTrouble(main, error, signal);
  }
}

async function watchReadiness() {
  const state = find("#state");
  try {
    await getJson("readyz");
    say(state, "ready", "Ready");
  } catch (error) {
    const away = !(error instanceof Problem) || error.status === 0;
    say(state, "away", away ? "Not reachable" : "Not ready", away ? "" : /** @type {Problem} */ (error).message);
  }
  setTimeout(watchReadiness, READY_EVERY_MS);
}

/** @param {HTMLElement} state @param {string} kind @param {string} text @param {string} [why] */
function say(state, kind, text, why = "") {
  if (state.dataset.kind === kind && state.textContent === text) return;
  state.dataset.kind = kind;
  show(state, text);
  const reason = find("#not-ready");
  reason.hidden = !why;
  reason.textContent = why;
}

async function start() {
  window.addEventListener("hashchange", async () => {
    await open();
    window.scrollTo(0, 0);
    const heading = find("#content h1");
    heading?.setAttribute("tabindex", "-1");
    heading?.focus({ preventScroll: true });
    announce(document.title.split(" · ")[0]);
  });
  for (const event of ["dragover", "drop"])
    window.addEventListener(event, (/** @type {Event} */ e) => e.preventDefault()); // else a file that misses takes the page away
  watchKey(open);
  watchReadiness();
  await open();
  const version = await getJson("version").catch(() => null);
  if (version) find("#version").textContent = `· ${version.service} ${version.version}`;
}

start();
