// The page: its views by the address after #, the state of the service, and signing in.

import { announce, find, h, show } from "./elements/dom.js";
import { watchKey } from "./elements/sign_in.js";
import { showTrouble } from "./elements/trouble.js";
import { getJson, Problem } from "./service/http.js";
import { comeBack } from "./service/sign_on.js";
import { language, say } from "./strings/say.js";

/**
 * A view fills main and returns. Whatever it continues to do ends with the signal.
 * @typedef {(main: HTMLElement, id: string, signal: AbortSignal) => Promise<void> | void} View
 */

/** @type {[RegExp, string, string, string][]} address, section, title, module */
const VIEWS = [
  [/^\/?$/, "#/", say("nav.certify"), "./views/certify.js"],
  [/^\/certifications\/(\w+)$/, "#/jobs", say("nav.certification"), "./views/certification.js"],
  [/^\/batches\/(\w+)$/, "#/jobs", say("nav.batch"), "./views/batch.js"],
  [/^\/evaluations(?:\/(\w+))?$/, "#/evaluations", say("nav.evaluations"), "./views/evaluations.js"],
  [/^\/jobs$/, "#/jobs", say("nav.jobs"), "./views/jobs.js"],
  [/^\/audit$/, "#/audit", say("nav.audit"), "./views/audit.js"],
  [/^\/prompts(?:\/jobs\/(\w+))?$/, "#/prompts", say("nav.prompts"), "./views/prompts.js"],
  [/^\/models$/, "#/models", say("nav.models"), "./views/models.js"],
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
  if (!found) return show(main, h("h1", {}, say("main.nothing")));
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
    showState(state, "ready", say("main.ready"));
  } catch (error) {
    const away = !(error instanceof Problem) || error.status === 0;
    showState(state, "away", say(away ? "main.unreachable" : "main.not_ready"), away ? "" : /** @type {Problem} */ (error).message);
  }
  setTimeout(watchReadiness, READY_EVERY_MS);
}

/** @param {HTMLElement} state @param {string} kind @param {string} text @param {string} [why] */
function showState(state, kind, text, why = "") {
  if (state.dataset.kind === kind && state.textContent === text) return;
  state.dataset.kind = kind;
  show(state, text);
  const reason = find("#not-ready");
  reason.hidden = !why;
  reason.textContent = why;
}

/** Opens what is folded, for paper, and closes it again. @param {boolean} printing */
function unfold(printing) {
  const folded = printing ? "#content details:not([open])" : "#content details[data-folded]";
  for (const one of document.querySelectorAll(folded)) {
    one.toggleAttribute("open", printing);
    one.toggleAttribute("data-folded", printing);
  }
}

/** Gives index.html its words. */
function sayFrame() {
  document.documentElement.lang = language;
  for (const one of document.querySelectorAll("[data-say]")) one.textContent = say(one.getAttribute("data-say") ?? "");
  for (const one of document.querySelectorAll("[data-say-label]")) one.setAttribute("aria-label", say(one.getAttribute("data-say-label") ?? ""));
}

async function start() {
  sayFrame();
  window.addEventListener("hashchange", async () => {
    await open();
    window.scrollTo(0, 0);
    const heading = find("#content h1");
    heading?.setAttribute("tabindex", "-1");
    heading?.focus({ preventScroll: true });
    announce(document.title.split(" · ")[0]);
  });
  for (const event of ["dragover", "drop"])
    window.addEventListener(event, (/** @type {Event} */ e) => e.preventDefault()); // else a file dropped beside the zone replaces the page
  window.addEventListener("beforeprint", () => unfold(true));
  window.addEventListener("afterprint", () => unfold(false));
  const trouble = await comeBack();
  watchKey(open, trouble);
  watchReadiness();
  await open();
  const version = await getJson("version").catch(() => null);
  if (version) find("#version").textContent = `· ${version.service} ${version.version}`;
}

start();
