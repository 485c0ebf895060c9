"use strict";
// What the explorer shows: bytes unpacked to columns, maps and pictures of cells; colours of numbers.

const UNKNOWN = 255;

// Text to bytes.
const decode = (text) => {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) bytes[n] = raw.charCodeAt(n);
  return bytes;
};

const unpack = async (id) => {
  const packed = decode(document.getElementById(id).textContent);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
};

// Matplotlib's viridis at nine points, and colours between them.
const RAMP = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

const parseColor = (text) => [1, 3, 5].map((n) => parseInt(text.slice(n, n + 2), 16));

// Parts of the ramp that stand out from the page, light or dark: for lines.
const lineColor = (share) => rampColor(theme.dark ? 0.25 + 0.75 * share : 0.85 * share);

const rampColor = (share) => {
  const position = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const below = Math.min(Math.floor(position), RAMP.length - 2);
  const [a, b] = [parseColor(RAMP[below]), parseColor(RAMP[below + 1])];
  return a.map((value, n) => Math.round(value + (b[n] - value) * (position - below)));
};

// Cells of one model: columns, maps, pictures.
class Cells {
  constructor(facts, array) {
    Object.assign(this, { name: facts.name, n: facts.n, chosen: facts.chosen, fovNames: facts.fov.names });
    this.fov = array(facts.fov.codes);
    for (const key of ["track", "parent", "t", "lineage", "picture"]) this[key] = array(facts[key]);
    this.columns = facts.columns.map((column) => ({
      ...column,
      values: column.names ? array(column.codes) : array(column.values),
    }));
    this.maps = facts.maps.map(({ title, axes }) => ({
      title,
      labels: axes.map((axis) => axis.label),
      heading: `${axes[0].label} →   ${axes[1].label} ↑`,
      x: array(axes[0].steps),
      y: array(axes[1].steps),
    }));
  }

  column(name) {
    return this.columns.find((column) => column.name === name);
  }

  text(column, row) {
    const value = column.values[row];
    if (column.names) return value === UNKNOWN ? "unknown" : column.names[value];
    return Number.isNaN(value) ? "unknown" : `${Number(value.toPrecision(4))}`;
  }

  sameTrack(a, b) {
    const experiments = this.column("experiment").values;
    return this.track[a] === this.track[b] && this.fov[a] === this.fov[b] && experiments[a] === experiments[b];
  }

  // Rows are sorted by experiment, field of view, track and frame: a track lies together.
  trackOf(row) {
    let first = row;
    let last = row;
    while (first > 0 && this.sameTrack(first - 1, row)) first--;
    while (last < this.n - 1 && this.sameTrack(last + 1, row)) last++;
    return Array.from({ length: last - first + 1 }, (_, n) => first + n);
  }

  // Tracks of a lineage, each begun at the last cell of the track that it came from.
  branchesOf(lineage) {
    const rows = [];
    for (let row = 0; row < this.n; row++) if (this.lineage[row] === lineage) rows.push(row);
    const tracks = [...Map.groupBy(rows, (row) => this.track[row]).values()];
    return tracks.map((track) => {
      const mother = tracks.find((other) => this.track[other[0]] === this.parent[track[0]]);
      return mother ? [mother.at(-1), ...track] : track;
    });
  }
}

// Pictures of cells, decoded when they are asked for.
class Pictures {
  constructor(facts, array) {
    this.of = facts.of;
    this.ends = array(facts.ends);
    this.addresses = new Map();
  }

  get bytes() {
    this.decoded ??= decode(document.getElementById("data-images").textContent);
    return this.decoded;
  }

  address(number) {
    if (!this.addresses.has(number)) {
      const content = this.bytes.subarray(this.ends[number], this.ends[number + 1]);
      this.addresses.set(number, URL.createObjectURL(new Blob([content], { type: "image/webp" })));
    }
    return this.addresses.get(number);
  }

  image(cells, row, alt) {
    if (cells.picture[row] < 0) return null;
    return element("img", { className: "cell", alt, src: this.address(cells.picture[row]) });
  }
}

// Rows by the square of the map that they lie in, so that the one under the pointer is found at once.
const GRID = 160;

class NearestIndex {
  constructor(map) {
    const cell = (row) => ((map.y[row] * GRID) >> 16) * GRID + ((map.x[row] * GRID) >> 16);
    this.map = map;
    this.starts = new Uint32Array(GRID * GRID + 1);
    for (let row = 0; row < map.x.length; row++) this.starts[cell(row) + 1]++;
    for (let n = 0; n < GRID * GRID; n++) this.starts[n + 1] += this.starts[n];
    const next = this.starts.slice();
    this.rows = new Uint32Array(map.x.length);
    for (let row = 0; row < map.x.length; row++) this.rows[next[cell(row)]++] = row;
  }

  // Nearest visible row within a radius; x and y in steps of the map, radius in each direction.
  find(x, y, radiusX, radiusY, isVisible) {
    const bound = (value) => Math.min(Math.max(Math.floor((value * GRID) / 65536), 0), GRID - 1);
    let best = -1;
    let least = 1;
    for (let j = bound(y - radiusY); j <= bound(y + radiusY); j++) {
      const from = this.starts[j * GRID + bound(x - radiusX)];
      const to = this.starts[j * GRID + bound(x + radiusX) + 1];
      for (let n = from; n < to; n++) {
        const row = this.rows[n];
        const distance = ((this.map.x[row] - x) / radiusX) ** 2 + ((this.map.y[row] - y) / radiusY) ** 2;
        if (distance < least && isVisible(row)) [best, least] = [row, distance];
      }
    }
    return best;
  }
}
