"use strict";
// The embedding explorer: maps of cells that move under the hand, and the cells themselves.

// Points are stamped into the pixels of a picture: some milliseconds for 50,000 of them, on any
// machine. What is pointed at or chosen is drawn on a second canvas above.

const UNKNOWN = 255;
const GRID = 160;

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

// Matplotlib's viridis at nine places, and colours between them.
const RAMP = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

const parseColor = (text) => [1, 3, 5].map((n) => parseInt(text.slice(n, n + 2), 16));

// Parts of the ramp that stand out from the page, light or dark: for lines.
const lineColor = (share) => rampColor(theme.dark ? 0.25 + 0.75 * share : 0.85 * share);

const rampColor = (share) => {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const below = Math.min(Math.floor(place), RAMP.length - 2);
  const [a, b] = [parseColor(RAMP[below]), parseColor(RAMP[below + 1])];
  return a.map((value, n) => Math.round(value + (b[n] - value) * (place - below)));
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
    const image = new Image();
    image.className = "cell";
    image.alt = alt;
    image.src = this.address(cells.picture[row]);
    return image;
  }
}

// Which rows lie where, so that the one under the pointer is found at once.
class PlaceIndex {
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
  nearest(x, y, radiusX, radiusY, isVisible) {
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

class Explorer {
  constructor(manifest, buffer) {
    const types = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array };
    const array = ({ type, start, length }) => new types[type](buffer, start, length);
    const byId = (name) => document.getElementById(`explorer-${name}`);
    this.models = manifest.models.map((facts) => new Cells(facts, array));
    this.pictures = new Pictures(manifest.pictures, array);
    this.part = Object.fromEntries(
      ["model", "map", "color", "move", "lasso", "in", "out", "reset", "stage", "points", "marks", "axes", "tip", "side", "legend"].map(
        (name) => [name, byId(name)],
      ),
    );
    this.hidden = new Set();
    this.pinned = -1;
    this.hovered = -1;
    this.selected = [];
    this.frames = [];
    this.listen();
    this.chooseModel(0);
  }

  // ---- choices

  chooseModel(number) {
    this.cells = this.models[number];
    const fill = (select, names) => select.replaceChildren(...names.map((name, n) => new Option(name, n)));
    fill(this.part.model, this.models.map((model) => model.name));
    this.part.model.value = number;
    fill(this.part.map, this.cells.maps.map((map) => map.title));
    fill(this.part.color, this.cells.columns.map((column) => column.name));
    this.order = this.shuffled(this.cells.n);
    this.pinned = this.hovered = -1;
    this.selected = [];
    const umap = this.cells.maps.findIndex((map) => map.title.startsWith("UMAP"));
    this.part.map.value = Math.max(umap, 0);
    this.chooseMap();
    this.chooseColor();
    this.describe();
    document.dispatchEvent(new Event("modelchange"));
  }

  // In a fixed shuffled order no experiment covers another.
  shuffled(n) {
    const order = Uint32Array.from({ length: n }, (_, row) => row);
    let state = 1;
    for (let last = n - 1; last > 0; last--) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const other = state % (last + 1);
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  chooseMap() {
    this.map = this.cells.maps[this.part.map.value];
    this.places = new PlaceIndex(this.map);
    this.part.axes.textContent = `${this.map.heading}   n = ${this.cells.n.toLocaleString("en")}`;
    this.reset();
    document.dispatchEvent(new Event("mapchange"));
  }

  chooseColor() {
    this.column = this.cells.columns[this.part.color.value];
    this.hidden.clear();
    this.paint();
    this.showLegend();
    this.render();
  }

  // Colour of each row as one number of a picture's pixels, and whether it is shown.
  paint() {
    const { names, values } = this.column;
    const pixel = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    const unknown = pixel(parseColor(theme.color("unknown")));
    this.colors = new Uint32Array(this.cells.n).fill(unknown);
    this.isUnknown = new Uint8Array(this.cells.n);
    this.isHidden = new Uint8Array(this.cells.n);
    if (names) {
      const palette = names.map((_, n) => pixel(parseColor(PALETTE[n % PALETTE.length])));
      for (let row = 0; row < this.cells.n; row++) {
        if (values[row] === UNKNOWN) this.isUnknown[row] = 1;
        else this.colors[row] = palette[values[row]];
        this.isHidden[row] = this.hidden.has(values[row]);
      }
      return;
    }
    const known = values.filter((value) => !Number.isNaN(value)).sort();
    this.limits = [known[0] ?? 0, known.at(-1) ?? 0];
    const steps = Array.from({ length: 256 }, (_, n) => pixel(rampColor(n / 255)));
    const scale = 255 / (this.limits[1] - this.limits[0] || 1);
    for (let row = 0; row < this.cells.n; row++) {
      if (Number.isNaN(values[row])) this.isUnknown[row] = 1;
      else this.colors[row] = steps[Math.round((values[row] - this.limits[0]) * scale)];
    }
  }

  showLegend() {
    const { names, values } = this.column;
    if (!names) {
      const item = document.createElement("li");
      const ramp = document.createElement("span");
      ramp.className = "ramp";
      ramp.style.background = `linear-gradient(90deg, ${RAMP.join(",")})`;
      item.append(`${this.column.name}: ${Number(this.limits[0].toPrecision(4))}`, ramp, `${Number(this.limits[1].toPrecision(4))}`);
      this.part.legend.replaceChildren(item);
      return;
    }
    const counts = new Uint32Array(256);
    for (const code of values) counts[code]++;
    const codes = [...names.keys(), UNKNOWN].filter((code) => counts[code]);
    this.part.legend.replaceChildren(...codes.map((code) => this.legendItem(code, counts[code])));
    if (names.length > PALETTE.length) {
      const note = document.createElement("li");
      note.textContent = `${PALETTE.length} colours for ${names.length} values: they repeat; hide some to tell them apart`;
      this.part.legend.append(note);
    }
  }

  legendItem(code, count) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = code === UNKNOWN ? "var(--unknown)" : PALETTE[code % PALETTE.length];
    const name = code === UNKNOWN ? "unknown" : this.column.names[code];
    const button = document.createElement("button");
    button.type = "button";
    button.ariaPressed = "true";
    button.title = "Show or hide";
    button.append(swatch, `${name} (${count.toLocaleString("en")})`);
    button.addEventListener("click", () => {
      if (!this.hidden.delete(code)) this.hidden.add(code);
      button.ariaPressed = String(!this.hidden.has(code));
      this.paint();
      this.render();
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }

  // ---- view: pixels = (steps - center) * scale + size / 2, with y upward

  reset() {
    const limits = (values) => {
      const sorted = values.slice().sort();
      const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
      return [at(0.002), at(0.998)];
    };
    const [x0, x1] = limits(this.map.x);
    const [y0, y1] = limits(this.map.y);
    const { width, height } = this.size();
    this.center = [(x0 + x1) / 2, (y0 + y1) / 2];
    this.home = { center: this.center, extent: [Math.max(x1 - x0, 1) / 0.92, Math.max(y1 - y0, 1) / 0.86] };
    this.scale = [width / this.home.extent[0], height / this.home.extent[1]];
    this.zoomed = 1;
    this.render();
  }

  size() {
    return { width: this.part.stage.clientWidth, height: this.part.stage.clientHeight };
  }

  toPixels(row) {
    const { width, height } = this.size();
    return [
      (this.map.x[row] - this.center[0]) * this.scale[0] + width / 2,
      height / 2 - (this.map.y[row] - this.center[1]) * this.scale[1],
    ];
  }

  toSteps(x, y) {
    const { width, height } = this.size();
    return [this.center[0] + (x - width / 2) / this.scale[0], this.center[1] - (y - height / 2) / this.scale[1]];
  }

  pan(dx, dy) {
    this.center = [this.center[0] - dx / this.scale[0], this.center[1] + dy / this.scale[1]];
    this.render();
  }

  zoom(factor, x = this.size().width / 2, y = this.size().height / 2) {
    const bounded = Math.min(Math.max(this.zoomed * factor, 0.3), 400) / this.zoomed;
    const before = this.toSteps(x, y);
    this.zoomed *= bounded;
    this.scale = this.scale.map((value) => value * bounded);
    const after = this.toSteps(x, y);
    this.center = this.center.map((value, n) => value + before[n] - after[n]);
    this.render();
  }

  // ---- drawing

  render() {
    if (this.waiting || !this.colors) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const started = performance.now();
      this.drawPoints();
      this.drawMarks();
      this.frames.push(performance.now() - started);
    });
  }

  fit(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.size();
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    return [w, h, ratio];
  }

  drawPoints() {
    const canvas = this.part.points;
    const [width, height, ratio] = this.fit(canvas);
    const context = canvas.getContext("2d");
    if (this.picture?.width !== width || this.picture?.height !== height) {
      this.picture = context.createImageData(width, height);
      this.pixels = new Uint32Array(this.picture.data.buffer);
    }
    this.pixels.fill(0);
    const radius = Math.min(2 + Math.log2(Math.max(this.zoomed, 1)) * 0.7, 6) * ratio * (this.cells.n > 20000 ? 0.75 : 1);
    const disc = this.disc(Math.max(radius, 1), width);
    // Unknown ones below, so that they hide no class.
    this.stamp(disc, width, height, ratio, 1);
    this.stamp(disc, width, height, ratio, 0);
    context.putImageData(this.picture, 0, 0);
  }

  disc(radius, width) {
    const reach = Math.ceil(radius);
    const offsets = [];
    for (let y = -reach; y <= reach; y++)
      for (let x = -reach; x <= reach; x++) if (x * x + y * y <= radius * (radius + 0.6)) offsets.push(y * width + x);
    return { reach, offsets: Int32Array.from(offsets) };
  }

  stamp({ reach, offsets }, width, height, ratio, unknown) {
    const { colors, isUnknown, isHidden, order, pixels } = this;
    const { x, y } = this.map;
    const [scaleX, scaleY] = this.scale.map((value) => value * ratio);
    const left = width / 2 - this.center[0] * scaleX;
    const top = height / 2 + this.center[1] * scaleY;
    for (let n = 0; n < order.length; n++) {
      const row = order[n];
      if (isHidden[row] || isUnknown[row] !== unknown) continue;
      const px = Math.round(x[row] * scaleX + left);
      const py = Math.round(top - y[row] * scaleY);
      if (px < reach || py < reach || px >= width - reach || py >= height - reach) continue;
      const at = py * width + px;
      const color = colors[row];
      for (let k = 0; k < offsets.length; k++) pixels[at + offsets[k]] = color;
    }
  }

  drawMarks() {
    const canvas = this.part.marks;
    const [width, height, ratio] = this.fit(canvas);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.save();
    context.scale(ratio, ratio);
    const row = this.current;
    if (row >= 0) this.drawTrack(context, row);
    context.strokeStyle = theme.color("text");
    for (const other of this.selected.slice(0, 3000)) this.ring(context, other, 3.5, 1);
    if (row >= 0) this.ring(context, row, 8, 2.5);
    if (this.lasso?.length > 1) {
      context.setLineDash([5, 4]);
      context.beginPath();
      this.lasso.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
      context.stroke();
    }
    context.restore();
  }

  ring(context, row, radius, width) {
    const [x, y] = this.toPixels(row);
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }

  // The way of a track over the map: a line with a light edge, and a dot at its first cell.
  drawTrack(context, row) {
    const points = this.cells.trackOf(row).map((other) => this.toPixels(other));
    const path = new Path2D();
    points.forEach(([x, y], n) => (n ? path.lineTo(x, y) : path.moveTo(x, y)));
    context.lineJoin = "round";
    for (const [color, width] of [[theme.color("surface"), 5], [theme.color("text"), 1.8]]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.stroke(path);
    }
    context.fillStyle = theme.color("text");
    context.beginPath();
    context.arc(...points[0], 4, 0, 2 * Math.PI);
    context.fill();
  }

  // ---- pointing and choosing

  get current() {
    return this.hovered >= 0 ? this.hovered : this.pinned;
  }

  rowAt(x, y, radius = 10) {
    const [sx, sy] = this.toSteps(x, y);
    return this.places.nearest(sx, sy, radius / this.scale[0], radius / this.scale[1], (row) => !this.isHidden[row]);
  }

  listen() {
    const { part } = this;
    part.model.addEventListener("change", () => this.chooseModel(Number(part.model.value)));
    part.map.addEventListener("change", () => this.chooseMap());
    part.color.addEventListener("change", () => this.chooseColor());
    part.in.addEventListener("click", () => this.zoom(1.5));
    part.out.addEventListener("click", () => this.zoom(1 / 1.5));
    part.reset.addEventListener("click", () => this.reset());
    part.move.addEventListener("click", () => this.setMode(false));
    part.lasso.addEventListener("click", () => this.setMode(true));
    part.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    part.stage.addEventListener("pointerdown", (event) => this.press(event));
    part.stage.addEventListener("pointermove", (event) => this.move(event));
    part.stage.addEventListener("pointerup", () => this.release());
    part.stage.addEventListener("pointercancel", () => this.release());
    part.stage.addEventListener("pointerleave", () => this.hover(-1));
    part.stage.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.render()).observe(part.stage);
    document.addEventListener("themechange", () => {
      this.paint();
      this.render();
    });
  }

  setMode(selecting) {
    this.selecting = selecting;
    this.part.move.ariaPressed = String(!selecting);
    this.part.lasso.ariaPressed = String(selecting);
    this.part.stage.classList.toggle("selecting", selecting);
  }

  at(event) {
    const box = this.part.stage.getBoundingClientRect();
    return [event.clientX - box.left - this.part.stage.clientLeft, event.clientY - box.top - this.part.stage.clientTop];
  }

  // A wheel over the map scrolls the page until the map was clicked.
  wheel(event) {
    if (!event.ctrlKey && document.activeElement !== this.part.stage) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * 0.0016), ...this.at(event));
  }

  press(event) {
    this.part.stage.setPointerCapture(event.pointerId);
    this.drag = { last: this.at(event), moved: 0 };
    if (this.selecting) this.lasso = [this.at(event)];
  }

  move(event) {
    const [x, y] = this.at(event);
    if (!this.drag) {
      this.hover(this.rowAt(x, y), x, y);
      return;
    }
    const [dx, dy] = [x - this.drag.last[0], y - this.drag.last[1]];
    this.drag.last = [x, y];
    this.drag.moved += Math.abs(dx) + Math.abs(dy);
    if (this.lasso) {
      this.lasso.push([x, y]);
      this.render();
    } else if (this.drag.moved > 4) {
      this.hover(-1);
      this.pan(dx, dy);
    }
  }

  release() {
    if (!this.drag) return;
    const { last, moved } = this.drag;
    this.drag = null;
    if (this.lasso && moved > 4) this.select(this.inside(this.lasso));
    else if (moved <= 4) this.pin(this.rowAt(...last));
    this.lasso = null;
    this.render();
  }

  // Even-odd rule.
  inside(outline) {
    const found = [];
    for (let row = 0; row < this.cells.n; row++) {
      if (this.isHidden[row]) continue;
      const [x, y] = this.toPixels(row);
      let within = false;
      for (let n = 0, last = outline.length - 1; n < outline.length; last = n++) {
        const [[ax, ay], [bx, by]] = [outline[n], outline[last]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
      }
      if (within) found.push(row);
    }
    return found;
  }

  hover(row, x, y) {
    if (row === this.hovered) return;
    this.hovered = row;
    this.showTip(row, x, y);
    if (row >= 0) this.describe();
    this.render();
  }

  pin(row) {
    this.pinned = row;
    this.selected = [];
    this.describe();
    this.render();
  }

  select(rows) {
    this.selected = rows;
    this.pinned = this.hovered = -1;
    this.describe();
    this.render();
  }

  key(event) {
    const step = 40;
    const actions = {
      ArrowLeft: () => this.pan(step, 0),
      ArrowRight: () => this.pan(-step, 0),
      ArrowUp: () => this.pan(0, step),
      ArrowDown: () => this.pan(0, -step),
      "+": () => this.zoom(1.3),
      "-": () => this.zoom(1 / 1.3),
      0: () => this.reset(),
      Enter: () => this.pin(this.rowAt(this.size().width / 2, this.size().height / 2, 200)),
      Escape: () => this.pin(-1),
      n: () => this.alongTrack(1),
      p: () => this.alongTrack(-1),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    actions[event.key]();
  }

  alongTrack(direction) {
    const next = this.pinned + direction;
    if (this.pinned >= 0 && next >= 0 && next < this.cells.n && this.cells.sameTrack(next, this.pinned)) this.pin(next);
  }

  // ---- words and pictures

  title(row) {
    const { cells } = this;
    const name = cells.text(cells.column("experiment"), row);
    return `${name}, ${cells.fovNames[cells.fov[row]]}, track ${cells.track[row]}, ${this.hour(row)}`;
  }

  hour(row) {
    return `${this.cells.column("hours").values[row].toFixed(1)} h`;
  }

  showTip(row, x, y) {
    const { tip } = this.part;
    tip.hidden = row < 0;
    if (row < 0) return;
    const image = this.pictures.image(this.cells, row, `Cell: ${this.title(row)}`);
    const value = `${this.column.name}: ${this.cells.text(this.column, row)}`;
    const told = document.createElement("div");
    told.append(this.title(row), document.createElement("br"), value);
    tip.replaceChildren(...(image ? [image] : []), told);
    const { width, height } = this.size();
    tip.style.left = x > width / 2 ? "" : `${x + 16}px`;
    tip.style.right = x > width / 2 ? `${width - x + 16}px` : "";
    tip.style.top = y > height / 2 ? "" : `${y + 12}px`;
    tip.style.bottom = y > height / 2 ? `${height - y + 12}px` : "";
  }

  describe() {
    const row = this.current;
    if (row >= 0) this.describeCell(row);
    else if (this.selected.length) this.describeSelection();
    else this.part.side.innerHTML = "<h3>Cell</h3><p class='muted'>Point at a cell, or press Enter on the map.</p>";
  }

  describeCell(row) {
    const { cells } = this;
    const heading = Object.assign(document.createElement("h3"), { textContent: "Cell" });
    const image = this.pictures.image(cells, row, `Cell: ${this.title(row)}`);
    const nothing = Object.assign(document.createElement("p"), { className: "muted", textContent: "No picture of this cell is in the page." });
    const facts = document.createElement("dl");
    const add = (name, value) => {
      const [term, told] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      told.textContent = value;
      facts.append(term, told);
    };
    add("field of view", cells.fovNames[cells.fov[row]]);
    add("track", `${cells.track[row]}`);
    add("frame", `${cells.t[row]}`);
    for (const column of cells.columns) add(column.name, cells.text(column, row));
    const strip = this.strip(cells.trackOf(row), row);
    this.part.side.replaceChildren(heading, image ?? nothing, ...(image ? [this.markers(row)] : []), ...strip, facts);
  }

  markers(row) {
    const experiment = this.cells.text(this.cells.column("experiment"), row);
    const { markers, height_um: size } = this.pictures.of[experiment];
    const list = Object.assign(document.createElement("div"), { className: "markers" });
    for (const name of markers) list.append(Object.assign(document.createElement("span"), { textContent: name }));
    const note = size ? `${size} µm high` : "";
    const whole = document.createElement("div");
    whole.append(list, Object.assign(document.createElement("span"), { className: "muted", textContent: note }));
    return whole;
  }

  // The cells of a track that have pictures, evenly thinned to what fits; with their hours.
  strip(rows, current = -1, most = 24) {
    const shown = rows.filter((row) => this.cells.picture[row] >= 0);
    if (!shown.length) return [];
    const every = Math.ceil(shown.length / most);
    const list = Object.assign(document.createElement("div"), { className: "strip" });
    for (const row of shown.filter((_, n) => n % every === 0)) {
      const button = Object.assign(document.createElement("button"), { type: "button", title: this.title(row) });
      button.classList.toggle("here", row === current);
      button.append(this.pictures.image(this.cells, row, this.title(row)), this.hour(row));
      button.addEventListener("click", () => this.pin(row));
      list.append(button);
    }
    const heading = Object.assign(document.createElement("h3"), { textContent: `Its track, ${rows.length} frames` });
    return current >= 0 ? [heading, list] : [list];
  }

  describeSelection() {
    const { cells, selected } = this;
    const heading = Object.assign(document.createElement("h3"), { textContent: `${selected.length.toLocaleString("en")} cells selected` });
    const facts = document.createElement("dl");
    for (const column of cells.columns.filter((one) => one.names)) {
      const counts = Map.groupBy(selected, (row) => cells.text(column, row));
      const term = Object.assign(document.createElement("dt"), { textContent: column.name });
      const parts = [...counts].sort((a, b) => b[1].length - a[1].length).slice(0, 6);
      const told = parts.map(([name, rows]) => `${name} ${((100 * rows.length) / selected.length).toFixed(0)} %`).join(", ");
      facts.append(term, Object.assign(document.createElement("dd"), { textContent: told }));
    }
    const save = Object.assign(document.createElement("a"), {
      textContent: "Save their keys as CSV",
      download: "cells.csv",
      href: URL.createObjectURL(new Blob([this.keys(selected)], { type: "text/csv" })),
    });
    this.part.side.replaceChildren(heading, facts, save, ...this.strip(selected));
  }

  keys(rows) {
    const { cells } = this;
    const experiment = cells.column("experiment");
    const lines = rows.map((row) => [cells.text(experiment, row), cells.fovNames[cells.fov[row]], cells.track[row], cells.t[row]].join(","));
    return ["experiment,fov,track_id,t", ...lines, ""].join("\n");
  }
}

const explorerReady = (async () => {
  const manifest = readData("manifest");
  if (!manifest.models.length) return null;
  const buffer = await unpack("data-arrays");
  document.getElementById("explorer").hidden = false;
  return new Explorer(manifest, buffer);
})();
