// Server-sent events over fetch, because EventSource cannot send a header with a key.

import { ask } from "./http.js";

/** @typedef {{event: string, data: string, id: string | null}} ServerEvent */

/** The service has no stream at this address. */
export class NoStream extends Error {}

/**
 * The events of one connection, until the server ends it.
 * @param {string} path @param {string | null} lastId @param {AbortSignal} signal
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* readEvents(path, lastId, signal) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "text/event-stream" };
  if (lastId !== null) headers["Last-Event-ID"] = lastId;
  const answer = await ask("GET", path, { headers, signal });
  const type = answer.headers.get("content-type") ?? "";
  if (!type.startsWith("text/event-stream") || !answer.body) throw new NoStream();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replace(/\r\n?/g, "\n")).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = parseEvent(block);
      if (event.data) yield event;
    }
  }
}

/** @param {string} block the lines of one event @returns {ServerEvent} */
export function parseEvent(block) {
  const event = { event: "message", data: "", id: /** @type {string | null} */ (null) };
  const data = [];
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "event") event.event = value;
    else if (name === "id") event.id = value;
    else if (name === "data") data.push(value);
  }
  event.data = data.join("\n");
  return event;
}
