// Follows a certification to its end, by its event stream or by polling every second.

import { NoStream, readEvents } from "./events.js";
import { getJson, Problem } from "./http.js";

/**
 * @typedef {{sigma: number, prompting: string, target_index: number, n: number, counts: number[],
 *   ambiguous: number, p_a_lower: number, p_b_upper: number}} LiveVotes
 * @typedef {{status: string, samples_done: number, samples_total: number,
 *   queue_position: number | null, estimated_s: number | null, live: LiveVotes[]}} Progress
 */

const ENDED = ["finished", "failed", "cancelled"];
const POLL_MS = 1000;
const LONGEST_PAUSE_MS = 8000;

/** @param {{status: string}} certification */
export function hasEnded(certification) {
  return ENDED.includes(certification.status);
}

/**
 * Reports progress until the end; survives a service that is away for a while.
 * @param {string} id
 * @param {{onProgress: (progress: Progress) => void, onLost: (lost: boolean) => void}} watcher
 * @param {AbortSignal} signal
 * @returns {Promise<any>} the ended certification
 * @throws {Problem} it does not exist, or belongs to another key
 */
export async function follow(id, watcher, signal) {
  let stream = true;
  let pause = 500;
  /** @type {{lastId: string | null}} */
  const place = { lastId: null };
  for (;;) {
    try {
      const end = stream
        ? await fromStream(id, place, watcher, signal)
        : await lookOnce(id, watcher, signal);
      watcher.onLost(false);
      if (end) return end;
      pause = 500;
      await wait(stream ? 200 : POLL_MS, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      if (stream && isMissing(error)) {
        stream = false;
        continue;
      }
      if (error instanceof Problem && !error.passes) throw error;
      watcher.onLost(true);
      await wait(error instanceof Problem ? error.retryAfterS * 1000 || pause : pause, signal);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }
}

/** @param {unknown} error */
function isMissing(error) {
  return error instanceof NoStream || (error instanceof Problem && [404, 405, 406].includes(error.status));
}

/** @param {string} id @param {{lastId: string | null}} place @param {any} watcher @param {AbortSignal} signal */
async function fromStream(id, place, watcher, signal) {
  for await (const event of readEvents(`certifications/${id}/events`, place.lastId, signal)) {
    place.lastId = event.id ?? place.lastId;
    watcher.onLost(false);
    const body = JSON.parse(event.data);
    if (event.event === "done") return body;
    if (event.event === "gone") throw new Problem({ status: 404, ...body });
    if (event.event === "progress") watcher.onProgress(body);
  }
  return null;
}

/** @param {string} id @param {any} watcher @param {AbortSignal} signal */
async function lookOnce(id, watcher, signal) {
  const found = await getJson(`certifications/${id}`, signal);
  if (hasEnded(found)) return found;
  watcher.onProgress({
    status: found.status,
    samples_done: found.progress?.samples_done ?? 0,
    samples_total: found.progress?.samples_total ?? 0,
    queue_position: found.queue_position ?? null,
    estimated_s: found.estimated_s ?? null,
    live: found.progress?.live ?? [],
  });
  return null;
}

/**
 * Looks at an address until what is there is over; survives a service that is away for a while.
 * @param {string} address @param {(found: any) => boolean} isOver @param {(found: any) => void} draw is given each look
 * @param {number} pauseMs @param {AbortSignal} signal
 * @returns {Promise<any>} the last look
 * @throws {Problem} that does not pass
 */
export async function watchUntil(address, isOver, draw, pauseMs, signal) {
  for (;;) {
    const found = await getJson(address, signal).catch((error) => {
      if (error instanceof Problem && error.passes) return null;
      throw error;
    });
    if (found) draw(found);
    if (found && isOver(found)) return found;
    await wait(pauseMs, signal);
  }
}

/** @param {number} ms @param {AbortSignal} signal */
function wait(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
