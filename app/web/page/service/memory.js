// What this tab remembers of what it sent, and nobody else is told: names of files, what was asked.

/**
 * @typedef {{name: string, sigmas: number[], classNames: string[], submittedAt: string}} Sent
 * @type {Map<string, Sent>}
 */
const sent = new Map();

/** @type {Map<string, string[]>} names of the files of a batch, in the order they were sent */
const batches = new Map();

/** @param {string} id @param {Sent} what */
export function remember(id, what) {
  sent.set(id, what);
}

/** @param {string} id */
export function fileName(id) {
  return sent.get(id)?.name ?? "";
}

/** @param {string} batchId @param {string[]} names */
export function rememberBatch(batchId, names) {
  batches.set(batchId, names);
}

/** @param {string} batchId @param {number} index from 0, of the images as they were sent */
export function batchFileName(batchId, index) {
  return batches.get(batchId)?.[index] ?? "";
}

/** @param {string} id @returns {Sent | undefined} */
export function recall(id) {
  return sent.get(id);
}
