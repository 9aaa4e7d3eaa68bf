// The API key: in the memory of this tab and nowhere else.

/** @type {string | null} */
let key = null;

/** The headers that carry the key. @returns {Record<string, string>} */
export function keyHeaders() {
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/** @param {string | null} value */
export function setKey(value) {
  key = value;
  document.dispatchEvent(new Event("key-changed"));
}

export function hasKey() {
  return key !== null;
}
