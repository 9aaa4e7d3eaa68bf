// The languages that the page has beside English: each is a file here, named by its BCP 47 tag.

/** @type {string[]} */
export const TRANSLATIONS = [];
