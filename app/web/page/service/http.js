// Requests to the service that served this page.

import { say } from "../strings/say.js";
import { keyHeaders } from "./key.js";

/** A refusal or failure of the service (RFC 9457), or the fact that it cannot be reached. */
export class Problem extends Error {
  /** @param {{status?: number, code?: string, detail?: string, title?: string,
   *   errors?: any[], image_index?: number, frames?: number}} document */
  constructor(document, retryAfterS = 0) {
    super(document.detail || document.title || say("service.no_reason"));
    this.status = document.status ?? 0;
    this.code = document.code ?? "unknown";
    this.errors = document.errors ?? [];
    this.imageIndex = document.image_index;
    this.frames = document.frames ?? 0;
    this.retryAfterS = retryAfterS;
  }

  /** Whether a later attempt may succeed: no connection, or the service is busy or away. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 502;
  }
}

/**
 * @param {string} method @param {string} path relative to the page's folder, without a leading slash
 * @param {{body?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>} an answer below 400
 * @throws {Problem}
 */
export async function ask(method, path, options = {}) {
  const headers = { ...keyHeaders(), ...options.headers };
  const relative = path.replace(/^\//, "");
  const answer = await fetch(relative, { ...options, method, headers, credentials: "omit" }).catch(
    (error) => {
      if (error.name === "AbortError") throw error;
      throw new Problem({
        code: "unreachable",
        detail: say("service.unreachable"),
      });
    },
  );
  if (answer.ok) return answer;
  throw await readProblem(answer);
}

/** @param {Response} answer */
async function readProblem(answer) {
  const document = await answer.json().catch(() => ({}));
  const problem = new Problem(
    { title: answer.statusText, ...document, status: answer.status },
    Number(answer.headers.get("retry-after")) || 0,
  );
  if (answer.status === 401) tell("key-needed");
  return problem;
}

/** @param {string} name */
function tell(name) {
  document.dispatchEvent(new Event(name));
}

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function getJson(path, signal) {
  return (await ask("GET", path, { signal })).json();
}

/** An image or a document, with the key in a header and not in its address.
 * @param {string} path @param {AbortSignal} [signal] @returns {Promise<Blob>} */
export async function getBlob(path, signal) {
  return (await ask("GET", path, { signal })).blob();
}

/** @param {string} path @param {FormData} form @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function postForm(path, form, signal) {
  return (await ask("POST", path, { body: form, signal })).json();
}
