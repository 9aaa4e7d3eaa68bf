// Tables that sort by a click on a heading and can be saved as CSV. A column that is `kept` appears
// only in the CSV file; one that is `optional` is shown once a row has a value in it.

import { language } from "../strings/say.js";
import { h, show } from "./dom.js";

/**
 * @typedef {{name: string, value: (row: any) => string | number | null,
 *   cell?: (row: any) => import("./dom.js").Child, numeric?: boolean, kept?: boolean, optional?: boolean}} Column
 */

/** @param {string} caption @param {Column[]} columns */
export function sortableTable(caption, columns) {
  const state = { column: -1, down: false, rows: /** @type {any[]} */ ([]) };
  const body = h("tbody");
  const shown = columns.filter((column) => !column.kept);
  const headings = shown.map((column, index) =>
    h("th", { scope: "col", class: column.numeric ? "number" : "" }, h("button", { type: "button", click: () => sortBy(index) }, column.name)),
  );
  const draw = () => {
    const visible = shown.filter((column) => !column.optional || state.rows.some((row) => column.value(row) !== null));
    headings.forEach((heading, index) => {
      heading.hidden = !visible.includes(shown[index]);
      if (index === state.column) heading.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
    const focused = body.contains(document.activeElement) && document.activeElement?.getAttribute("href");
    show(body, ...ordered(state, shown).map((row) => tableRow(row, visible)));
    if (focused) body.querySelector(`a[href="${focused}"]`)?.focus({ preventScroll: true });
  };
  const sortBy = (/** @type {number} */ index) => {
    state.down = state.column === index && !state.down;
    state.column = index;
    draw();
  };
  const element = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", { class: "rows" }, h("caption", { class: "sr" }, caption), h("thead", {}, h("tr", {}, ...headings)), body));
  return {
    element,
    /** @param {any[]} rows */
    setRows: (rows) => {
      state.rows = rows;
      draw();
    },
    csv: () => toCsv([columns.map((c) => c.name), ...ordered(state, shown).map((row) => columns.map((c) => c.value(row)))]),
  };
}

/** @param {any} row @param {Column[]} columns */
function tableRow(row, columns) {
  return h("tr", {}, ...columns.map((c) => h("td", { class: c.numeric ? "number" : "" }, c.cell ? c.cell(row) : c.value(row))));
}

/** Rows in sorting order. Rows without a value come last in either direction.
 * @param {{column: number, down: boolean, rows: any[]}} state @param {Column[]} columns */
function ordered({ column, down, rows }, columns) {
  if (column < 0) return rows;
  const { value } = columns[column];
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), language, { numeric: true });
    return down ? -order : order;
  });
}

/**
 * RFC 4180, with the byte order mark by which spreadsheets recognise UTF-8. Text that they would take
 * for a formula is preceded by an apostrophe. That includes text after a separator of other locales,
 * where quotes do not protect it.
 * @param {(string | number | null)[][]} rows
 */
export function toCsv(rows) {
  return "\ufeff" + rows.map((row) => row.map(csvField).join(",")).join("\r\n") + "\r\n";
}

/** @param {string | number | null} value */
function csvField(value) {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const safe = value.replace(/(?<=^|[;\t\r\n])(?=\s*[=+\-@＝＋－＠])/g, "'");
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
