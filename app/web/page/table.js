// Tables whose rows are put in order by a click on a heading, and that become a CSV file.

import { h, show } from "./dom.js";

/**
 * @typedef {{name: string, value: (row: any) => string | number | null,
 *   cell?: (row: any) => import("./dom.js").Child, numeric?: boolean}} Column
 */

/** @param {string} caption @param {Column[]} columns */
export function sortableTable(caption, columns) {
  const state = { column: -1, down: false, rows: /** @type {any[]} */ ([]) };
  const body = h("tbody");
  const headings = columns.map((column, index) =>
    h("th", { scope: "col", class: column.numeric ? "number" : "" }, h("button", { type: "button", click: () => sortBy(index) }, column.name)),
  );
  const draw = () => {
    headings.forEach((heading, index) => {
      if (index === state.column) heading.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
    show(body, ...ordered(state, columns).map((row) => tableRow(row, columns)));
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
    csv: () => toCsv([columns.map((c) => c.name), ...ordered(state, columns).map((row) => columns.map((c) => c.value(row)))]),
  };
}

/** @param {any} row @param {Column[]} columns */
function tableRow(row, columns) {
  return h("tr", {}, ...columns.map((c) => h("td", { class: c.numeric ? "number" : "" }, c.cell ? c.cell(row) : c.value(row))));
}

/** Rows without a value come last, in either direction.
 * @param {{column: number, down: boolean, rows: any[]}} state @param {Column[]} columns */
function ordered({ column, down, rows }, columns) {
  if (column < 0) return rows;
  const { value } = columns[column];
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return down ? -order : order;
  });
}

/**
 * RFC 4180. A text that a spreadsheet would take for a formula gets an apostrophe before it.
 * @param {(string | number | null)[][]} rows
 */
export function toCsv(rows) {
  return rows.map((row) => row.map(csvField).join(",")).join("\r\n") + "\r\n";
}

/** @param {string | number | null} value */
function csvField(value) {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
