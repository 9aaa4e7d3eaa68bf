// What this tab remembers of what it sent, and nobody else is told: names of files, what was asked.

/**
 * @typedef {{name: string, sigmas: number[], classNames: string[], submittedAt: string}} Sent
 * @type {Map<string, Sent>}
 */
const sent = new Map();

/** @param {string} id @param {Sent} what */
export function remember(id, what) {
  sent.set(id, what);
}

/** @param {string} id */
export function fileName(id) {
  return sent.get(id)?.name ?? "";
}

/** @param {string} id @returns {Sent | undefined} */
export function recall(id) {
  return sent.get(id);
}

/** Newest first. @returns {string[]} */
export function rememberedIds() {
  return [...sent.keys()].reverse();
}
