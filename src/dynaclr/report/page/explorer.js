"use strict";
// The embedding explorer: a map of cells that is dragged, zoomed, pointed at and selected from.

// Points are stamped into the pixels of a picture: some milliseconds for 50,000 of them, on any
// machine. What is pointed at or chosen is drawn on a second canvas above.

class Explorer extends MapView {
  constructor(manifest, buffer) {
    super(document.getElementById("explorer-stage"));
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
    // Milliseconds that each drawing took.
    this.frames = [];
    this.panel = new CellPanel(this);
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
    this.panel.update();
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
    this.nearest = new NearestIndex(this.map);
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
      const ramp = element("span", { className: "ramp" });
      ramp.style.background = `linear-gradient(90deg, ${RAMP.join(",")})`;
      const [low, high] = this.limits.map((limit) => `${Number(limit.toPrecision(4))}`);
      this.part.legend.replaceChildren(element("li", {}, `${this.column.name}: ${low}`, ramp, high));
      return;
    }
    const counts = new Uint32Array(256);
    for (const code of values) counts[code]++;
    const codes = [...names.keys(), UNKNOWN].filter((code) => counts[code]);
    this.part.legend.replaceChildren(...codes.map((code) => this.legendItem(code, counts[code])));
    if (names.length > PALETTE.length) {
      const note = `${PALETTE.length} colours for ${names.length} values: they repeat; hide some to tell them apart`;
      this.part.legend.append(element("li", {}, note));
    }
  }

  legendItem(code, count) {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = code === UNKNOWN ? "var(--unknown)" : PALETTE[code % PALETTE.length];
    const name = code === UNKNOWN ? "unknown" : this.column.names[code];
    const label = `${name} (${count.toLocaleString("en")})`;
    const button = element("button", { type: "button", ariaPressed: "true", title: "Show or hide" }, swatch, label);
    button.addEventListener("click", () => {
      if (!this.hidden.delete(code)) this.hidden.add(code);
      button.ariaPressed = String(!this.hidden.has(code));
      this.paint();
      this.render();
    });
    return element("li", {}, button);
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

  // The path of a track over the map: a line with a light edge, and a dot at its first cell.
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
    return this.nearest.find(sx, sy, radius / this.scale[0], radius / this.scale[1], (row) => !this.isHidden[row]);
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
    this.panel.showTip(row, x, y);
    if (row >= 0) this.panel.update();
    this.render();
  }

  pin(row) {
    this.pinned = row;
    this.selected = [];
    this.panel.update();
    this.render();
  }

  select(rows) {
    this.selected = rows;
    this.pinned = this.hovered = -1;
    this.panel.update();
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
}

const explorerReady = (async () => {
  const manifest = readData("manifest");
  if (!manifest.models.length) return null;
  const buffer = await unpack("data-arrays");
  document.getElementById("explorer").hidden = false;
  return new Explorer(manifest, buffer);
})();
