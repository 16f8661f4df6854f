// Tables that sort by a click on a heading and filter by words. Data come by column:
// {caption, same, empty, columns: [{heading, kind: "text" | "number", values}], total}; `same` are
// columns of one value, which all rows have.

const ROWS_AT_ONCE = 100;
const SHORT_HEADING = 24; // characters that stand in one line
const SHORT_TEXT = 40;

/** Show a table in the place with this id, or a sentence where it has no rows. */
function showTable(id, table) {
  const nrRows = table.columns.length ? table.columns[0].values.length : 0;
  if (nrRows === 0) return place(id).replaceChildren(make("p", { class: "quiet" }, table.empty));
  const rows = Array.from({ length: nrRows }, (_, row) => row);
  const view = { rows, nrShown: ROWS_AT_ONCE, column: -1, descending: false };
  const body = make("tbody");
  const status = make("span", { role: "status", class: "quiet" });
  const more = make("button", { type: "button", click: showMore }, `Show ${ROWS_AT_ONCE} more`);
  const filter = make("input", { type: "search", id: `${id}-filter`, autocomplete: "off", input: filterRows });
  const headings = table.columns.map((column, number) => makeHeading(column, () => sortBy(number)));
  const caption = make("caption", {}, table.caption);
  const head = make("thead", {}, make("tr", {}, ...headings));
  const label = make("label", { class: "wide", for: filter.id }, "Rows with the words", filter);
  const scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Table: ${table.caption}` });
  scroll.append(make("table", {}, caption, head, body));
  place(id).replaceChildren(
    make("div", { class: "controls" }, label, status, makeSave(id, table, () => view.rows)),
    ...makeSame(table.same), scroll,
    make("div", { class: "controls" }, more),
  );
  show();

  function show() {
    body.replaceChildren(...view.rows.slice(0, view.nrShown).map((row) => makeRow(table, row)));
    const ofAll = table.total > nrRows ? `; ${WHOLE.format(table.total)} in the result's folder` : "";
    status.textContent = `${WHOLE.format(view.rows.length)} of ${WHOLE.format(nrRows)} rows${ofAll}`;
    more.hidden = view.rows.length <= view.nrShown;
  }

  function showMore() {
    view.nrShown += ROWS_AT_ONCE;
    show();
    if (more.hidden) scroll.focus();
  }

  function filterRows() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    view.rows = rows.filter((row) => {
      const text = rowText(table, row);
      return words.every((word) => text.includes(word));
    });
    view.nrShown = ROWS_AT_ONCE;
    show();
  }

  function sortBy(number) {
    view.descending = view.column === number && !view.descending;
    view.column = number;
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[number].setAttribute("aria-sort", view.descending ? "descending" : "ascending");
    const sign = view.descending ? -1 : 1;
    const values = table.columns[number].values;
    // Of equal values, and of none, the order in the data; none is always last.
    rows.sort((a, b) => compared(values[a], values[b], sign) || a - b);
    filterRows();
  }
}

/** What has no column of its own, since it is the same in every row. */
function makeSame(columns) {
  const known = columns.filter((column) => column.values[0] !== null);
  if (!known.length) return [];
  const said = known.map((column) => `${column.heading} ${shown(column, 0) || "none"}`);
  return [make("p", { class: "same" }, `In every row: ${said.join("; ")}.`)];
}

function makeHeading(column, sort) {
  const button = make("button", { type: "button", click: sort }, column.heading);
  return make("th", { scope: "col", class: `${column.kind} ${lengthOf(column.heading, SHORT_HEADING)}` }, button);
}

function makeRow(table, row) {
  const cells = table.columns.map((column) => {
    const text = shown(column, row);
    return make("td", { class: `${column.kind} ${lengthOf(text, SHORT_TEXT)}` }, text);
  });
  return make("tr", {}, ...cells);
}

function lengthOf(text, short) {
  return text.length <= short ? "short" : "long";
}

function shown(column, row) {
  const value = column.values[row];
  return column.kind === "number" ? shownNumber(value) : String(value);
}

/** What a filter looks through: numbers both as they are shown and as they are. */
function rowText(table, row) {
  return table.columns.map((column) => `${shown(column, row)} ${column.values[row]}`).join(" ").toLowerCase();
}

function compared(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number") return sign * (a - b);
  return sign * a.localeCompare(b, "en", { numeric: true });
}

/** A button that saves the rows that are shown, in their order, as CSV. */
function makeSave(id, table, rows) {
  const quoted = (value) => (value === null ? "" : `"${String(value).replaceAll('"', '""')}"`);
  const ofAll = table.same.map((column) => quoted(column.values[0]));
  const save = () => {
    const lines = [[...table.same, ...table.columns].map((column) => quoted(column.heading))];
    for (const row of rows()) lines.push([...ofAll, ...table.columns.map((column) => quoted(column.values[row]))]);
    makeDownload(lines.map((line) => line.join(",") + "\n").join(""), `${id}.csv`, "text/csv", "").click();
  };
  return make("button", { type: "button", click: save }, "Save as CSV");
}
