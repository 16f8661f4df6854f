// The memory map of one run: its zones, a slider over its snapshots, a cell for each pageblock, and the single
// pages of the pageblock that is opened.

// They differ in brightness as well: dark to light is Unmovable, Reclaimable, Movable, HighAtomic.
const MIGRATETYPE_COLOURS = { Unmovable: "#00306f", Reclaimable: "#b84a00", Movable: "#3e9bd6", HighAtomic: "#f0e442" };
const STATE_COLOURS = { used: "#009068", slab: "#7a1c50", "on a per-CPU list": "#e3c94f", reserved: "#5b5b61" };
const STATE_LETTERS = { used: "u", slab: "s", "on a per-CPU list": "c", reserved: "r" };
const OTHER_COLOUR = "#767676";

class MemoryMap {
  constructor(root, zones) {
    Object.assign(this, { root, zones, snapshot: 0 });
    this.slider = make("input", { type: "range", id: "map-time", min: 0, step: 1, input: () => this.moveTime() });
    this.time = make("output", { for: "map-time", id: "map-time-shown" });
    this.canvas = make("canvas", { id: "map-canvas", "aria-describedby": "map-keys" });
    this.readout = make("p", { id: "map-readout", class: "readout", "aria-live": "polite" });
    this.summary = make("div", { id: "map-summary", class: "scroll", tabindex: 0, role: "region" });
    this.summary.setAttribute("aria-label", "Table: the zone at this time");
    this.zoom = make("div", { class: "zoom", id: "map-zoom", hidden: "" });
    this.root.replaceChildren(...this.parts());
    this.ending = new AbortController();
    addEventListener("resize", () => this.resize(), { signal: this.ending.signal });
    this.choose(this.largest());
  }

  parts() {
    const label = make("label", { class: "wide", for: "map-time" }, "Simulated time", this.slider);
    const names = this.zones.map((zone) => `zone ${zone.name}`);
    const keys = "Each cell is a pageblock in the colour of its migratetype (see the table below), filled from below by its " +
      "pages that are not free. Arrow keys move, Enter or a click opens a pageblock's single pages, Escape closes them. " +
      "Numbers at the left are page frame numbers.";
    const choice = makeChoice("Zone", names, (number) => this.choose(number));
    choice.querySelector("select").value = this.largest();
    return [
      make("div", { class: "controls" }, choice, label, this.time),
      make("p", { id: "map-keys" }, keys), make("div", {}, this.canvas), this.readout, this.zoom, this.summary,
    ];
  }

  /** The zone that is shown first, by its number. */
  largest() {
    const sizes = this.zones.map((zone) => zone.first_pfns.length);
    return sizes.indexOf(Math.max(...sizes));
  }

  /** Another run's map takes the place of this one. */
  end() {
    this.ending.abort();
  }

  async choose(number) {
    this.close();
    this.readout.textContent = "Unpacking the map …";
    this.chosen = number;
    const zone = this.zones[number];
    const states = await unpackStates(zone);
    if (zone !== this.zones[this.chosen] || this.ending.signal.aborted) return; // another is chosen meanwhile
    this.states = states;
    this.snapshot = states.nrSnapshots - 1;
    this.slider.max = states.nrSnapshots - 1;
    this.slider.value = this.snapshot;
    this.readTime();
    this.grid = new CellGrid(this.canvas, {
      nr: states.nrBlocks,
      label: `Pageblocks of zone ${zone.name}`,
      rowLabel: (block) => WHOLE.format(zone.first_pfns[block]),
      cell: (block) => this.blockLook(block),
      moved: () => this.say(),
      opened: (block) => this.open(block),
      left: () => this.close(),
    });
    this.say();
  }

  moveTime() {
    this.readTime();
    this.grid.draw();
    this.pages?.draw();
    this.say();
  }

  readTime() {
    const times = this.states.zone.times_ns;
    this.snapshot = Number(this.slider.value);
    const longest = times[times.length - 1];
    this.now = `${shownTime(times[this.snapshot], longest)} of ${shownTime(longest, longest)}`;
    this.time.textContent = `${this.now} (snapshot ${this.snapshot + 1} of ${times.length})`;
    this.slider.setAttribute("aria-valuetext", this.time.textContent);
    this.summarize();
  }

  /** The window or its colours have changed. */
  resize() {
    this.grid?.layOut();
    this.pages?.layOut();
  }

  /** Read every pageblock once; what the cells look like, and the table below them. */
  summarize() {
    const { zone, nrBlocks } = this.states;
    this.counts = Array.from({ length: nrBlocks }, (_, block) => this.states.counts(this.snapshot, block));
    const ofTypes = zone.migratetypes.map((name) => ({ name, blocks: 0, wholly: 0, pages: zone.states.map(() => 0) }));
    this.counts.forEach((counts, block) => {
      const type = ofTypes[this.states.migratetype(this.snapshot, block)];
      type.blocks++;
      if (counts[0] === zone.pages_per_block) type.wholly++;
      counts.forEach((nr, state) => (type.pages[state] += nr));
    });
    const heads = ["pageblocks of type", "pageblocks", "wholly free", ...zone.states.map((state) => `pages ${state}`)];
    const isNumber = (number) => ({ class: number ? "number short" : "short" });
    const rows = ofTypes.map((type) => {
      const name = make("th", { scope: "row", class: "short" }, swatch(MIGRATETYPE_COLOURS[type.name]), type.name);
      const numbers = [type.blocks, type.wholly, ...type.pages];
      return make("tr", {}, name, ...numbers.map((nr) => make("td", { class: "number short" }, WHOLE.format(nr))));
    });
    const head = heads.map((text, number) => make("th", { scope: "col", ...isNumber(number) }, text));
    const caption = make("caption", {}, `Zone ${zone.name} at ${this.now}; the squares are the map's legend`);
    const table = make("table", {}, caption, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
    this.summary.replaceChildren(table);
  }

  blockLook(block) {
    const name = this.states.zone.migratetypes[this.states.migratetype(this.snapshot, block)];
    const filled = 1 - this.counts[block][0] / this.states.zone.pages_per_block;
    return { colour: MIGRATETYPE_COLOURS[name] ?? OTHER_COLOUR, filled, letter: name[0], strip: 3 };
  }

  /** What the focused pageblock, or the focused page of an opened one, is at this time. */
  say() {
    const { zone } = this.states;
    if (this.pages) {
      const pfn = zone.first_pfns[this.opened] + this.pages.focus;
      this.readout.textContent = `Page frame ${WHOLE.format(pfn)}: ${this.pageState(this.pages.focus)}, at ${this.now}.`;
      return;
    }
    this.readout.textContent = `${this.blockText(this.grid.focus)}, at ${this.now}.`;
  }

  blockText(block) {
    const { zone } = this.states;
    const first = zone.first_pfns[block];
    const last = first + zone.pages_per_block - 1;
    const name = zone.migratetypes[this.states.migratetype(this.snapshot, block)];
    const parts = this.counts[block].map((nr, state) => `${WHOLE.format(nr)} ${zone.states[state]}`);
    return `Pageblock of pfn ${WHOLE.format(first)} to ${WHOLE.format(last)}, ${name}: pages ${parts.join(", ")}`;
  }

  pageState(page) {
    const { zone } = this.states;
    return zone.states[this.states.state(this.snapshot, this.opened * zone.pages_per_block + page)];
  }

  open(block) {
    const { zone } = this.states;
    if (!zone.has_pages) {
      this.readout.textContent = `${this.blockText(block)}. Of this zone the file has no single pages.`;
      return;
    }
    this.opened = block;
    const canvas = make("canvas", { id: "map-pages" });
    const first = zone.first_pfns[block];
    const heading = `Pages of the pageblock that begins at pfn ${WHOLE.format(first)}`;
    const legend = zone.states.map((name) => make("span", {}, swatch(STATE_COLOURS[name], STATE_LETTERS[name]), name));
    const closing = make("button", { type: "button", click: () => this.close() }, "Close (Escape)");
    this.zoom.replaceChildren(
      make("h4", {}, heading), make("div", { class: "controls" }, ...legend, closing), make("div", {}, canvas),
    );
    this.zoom.hidden = false;
    this.zoom.onkeydown = (event) => event.key === "Escape" && this.close();
    this.pages = new CellGrid(canvas, {
      nr: zone.pages_per_block,
      label: heading,
      rowLabel: (page) => WHOLE.format(first + page),
      cell: (page) => this.pageLook(page),
      moved: () => this.say(),
      opened: () => this.say(),
      left: () => this.close(),
    });
    canvas.focus({ preventScroll: true });
    this.zoom.scrollIntoView({ block: "nearest" });
    this.say();
  }

  pageLook(page) {
    const name = this.pageState(page);
    const isFree = name === this.states.zone.states[0];
    const look = { colour: STATE_COLOURS[name] ?? OTHER_COLOUR, filled: isFree ? 0 : 1, letter: STATE_LETTERS[name] };
    return { ...look, strip: 0, hatched: name === "reserved" };
  }

  close() {
    if (!this.pages) return;
    this.pages = undefined;
    this.zoom.hidden = true;
    this.zoom.replaceChildren();
    this.canvas.focus();
    this.say();
  }
}

function swatch(colour, letter = "") {
  const square = make("span", { class: "swatch", "aria-hidden": true }, letter);
  if (colour) square.style.background = colour;
  return square;
}
