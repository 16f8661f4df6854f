// A canvas of cells, one of which has the focus: arrow keys move it, Enter or a click opens it.

const GUTTER = 84; // for the numbers of the rows
const CELL_MAX = 24;
const CELL_MIN = 4;
const HEIGHT_LIKED = 560;
const LETTER_CELL = 19; // from this size on a cell has room for a letter
const OUTLINED_CELL = 7;
const SHEET = "#f4f5f7"; // light in both sets of colours, so that the cells' colours stay the same
const CELL_INK = "#3a3a3f";

class CellGrid {
  /** `cells` has nr, rowLabel(cell), cell(cell) -> {colour, filled (0 to 1), letter, strip, hatched}, label, moved, opened, left. */
  constructor(canvas, cells) {
    Object.assign(this, { canvas, cells, focus: 0 });
    canvas.setAttribute("tabindex", 0);
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", cells.label);
    canvas.onkeydown = (event) => this.key(event);
    canvas.onclick = (event) => this.click(event);
    this.layOut();
  }

  /** The largest cells that leave the canvas low enough, in rows of a round number of cells. */
  layOut() {
    const width = Math.max(this.canvas.parentElement.clientWidth - GUTTER, 16 * CELL_MIN);
    this.size = CELL_MAX;
    while (this.size > CELL_MIN && this.rowsOf(this.columnsIn(width)) * this.size > HEIGHT_LIKED) this.size--;
    this.columns = this.columnsIn(width);
    const height = this.rowsOf(this.columns) * this.size + 1;
    const ratio = window.devicePixelRatio;
    const canvasWidth = GUTTER + this.columns * this.size + 1;
    this.canvas.width = canvasWidth * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.width = `${canvasWidth}px`;
    this.canvas.style.height = `${height}px`;
    this.context = this.canvas.getContext("2d");
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.draw();
  }

  columnsIn(width) {
    const columns = Math.max(Math.floor(width / this.size), 1);
    const step = columns >= 16 ? 16 : columns >= 8 ? 8 : 1;
    return columns - (columns % step);
  }

  rowsOf(columns) {
    return Math.ceil(this.cells.nr / columns);
  }

  draw() {
    const { context, cells, columns, size } = this;
    const style = getComputedStyle(this.canvas);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillStyle = style.color;
    const every = Math.ceil(16 / size);
    for (let row = 0; row < this.rowsOf(columns); row += every) {
      context.fillText(cells.rowLabel(row * columns), GUTTER - 6, row * size + Math.max(size / 2, 6));
    }
    context.textAlign = "center";
    context.font = `${Math.min(size - 5, 12)}px system-ui, sans-serif`;
    for (let cell = 0; cell < cells.nr; cell++) this.drawCell(cell, cells.cell(cell));
    this.drawFocus();
  }

  drawCell(cell, look) {
    const { context, size } = this;
    const [x, y] = this.corner(cell);
    context.fillStyle = SHEET;
    context.fillRect(x, y, size, size);
    const filled = Math.round(look.filled * size);
    context.fillStyle = look.colour;
    context.fillRect(x, y + size - filled, size, filled);
    if (size >= OUTLINED_CELL) context.fillRect(x, y, look.strip, size);
    context.strokeStyle = CELL_INK;
    context.lineWidth = 1;
    if (look.hatched && size >= OUTLINED_CELL) {
      context.beginPath();
      context.moveTo(x, y + size);
      context.lineTo(x + size, y);
      context.strokeStyle = SHEET;
      context.stroke();
      context.strokeStyle = CELL_INK;
    }
    if (size >= OUTLINED_CELL) {
      context.globalAlpha = 0.45;
      context.strokeRect(x + 0.5, y + 0.5, size, size);
      context.globalAlpha = 1;
    }
    if (size >= LETTER_CELL && look.letter) {
      context.lineWidth = 3;
      context.strokeStyle = SHEET;
      context.strokeText(look.letter, x + size / 2 + 0.5, y + size / 2 + 1);
      context.fillStyle = "#000000";
      context.fillText(look.letter, x + size / 2 + 0.5, y + size / 2 + 1);
    }
  }

  drawFocus() {
    const { context, size } = this;
    const [x, y] = this.corner(this.focus);
    for (const [colour, width] of [["#ffffff", 5], ["#000000", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(x + 0.5, y + 0.5, size, size);
    }
  }

  corner(cell) {
    return [GUTTER + (cell % this.columns) * this.size, Math.floor(cell / this.columns) * this.size];
  }

  moveTo(cell) {
    this.focus = Math.min(Math.max(cell, 0), this.cells.nr - 1);
    this.draw();
    this.cells.moved(this.focus);
  }

  key(event) {
    const row = this.columns;
    const last = this.cells.nr - 1;
    const places = { ArrowLeft: this.focus - 1, ArrowRight: this.focus + 1, Home: 0, End: last };
    if (this.focus >= row) Object.assign(places, { ArrowUp: this.focus - row, PageUp: this.focus % row });
    if (this.focus + row <= last) {
      const below = Math.floor((last - this.focus) / row) * row;
      Object.assign(places, { ArrowDown: this.focus + row, PageDown: this.focus + below });
    }
    const isOurs = event.key.startsWith("Arrow") || event.key.startsWith("Page") || event.key in places;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (isOurs) event.preventDefault();
    if (event.key in places) this.moveTo(places[event.key]);
    if (event.key === "Enter") this.cells.opened(this.focus);
    if (event.key === "Escape") this.cells.left();
  }

  click(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - GUTTER) / this.size);
    const cell = Math.floor((event.clientY - box.top) / this.size) * this.columns + column;
    if (column < 0 || column >= this.columns || cell >= this.cells.nr) return;
    this.moveTo(cell);
    this.cells.opened(cell);
  }
}
