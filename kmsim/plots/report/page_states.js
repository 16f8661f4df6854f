// What every page and pageblock of a zone was at each snapshot, unpacked from
// {name, pages_per_block, has_pages, first_pfns, times_ns, migratetypes, states, packed}.
//
// `packed` is base64 of zlib's deflate. A snapshot is one byte a pageblock (its migratetype), then four bits a page
// (its state; the earlier page in the low bits) or, without single pages, two bytes for each state of a pageblock
// (how many pages; the low byte first). It stands there as what differs (xor) from the snapshot before.

async function unpackStates(zone) {
  const deflated = Uint8Array.from(atob(zone.packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const nrBytes = bytes.length / zone.times_ns.length; // of a snapshot
  for (let k = nrBytes; k < bytes.length; k++) bytes[k] ^= bytes[k - nrBytes];
  return new PageStates(zone, bytes, nrBytes);
}

class PageStates {
  constructor(zone, bytes, nrBytes) {
    Object.assign(this, { zone, bytes, nrBytes });
    this.nrBlocks = zone.first_pfns.length;
    this.nrSnapshots = zone.times_ns.length;
  }

  migratetype(snapshot, block) {
    return this.bytes[snapshot * this.nrBytes + block];
  }

  /** The state of one page by its place in the zone's pageblocks. */
  state(snapshot, page) {
    const pair = this.bytes[snapshot * this.nrBytes + this.nrBlocks + (page >> 1)];
    return page & 1 ? pair >> 4 : pair & 15;
  }

  /** How many pages of a pageblock are in each state. */
  counts(snapshot, block) {
    if (!this.zone.has_pages) return this.keptCounts(snapshot, block);
    const counts = this.zone.states.map(() => 0);
    const first = block * this.zone.pages_per_block;
    for (let page = first; page < first + this.zone.pages_per_block; page++) counts[this.state(snapshot, page)]++;
    return counts;
  }

  keptCounts(snapshot, block) {
    const first = snapshot * this.nrBytes + this.nrBlocks + 2 * block * this.zone.states.length;
    return this.zone.states.map((_, state) => this.bytes[first + 2 * state] | (this.bytes[first + 2 * state + 1] << 8));
  }
}
