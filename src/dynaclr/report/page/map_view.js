"use strict";
// Which part of a map is seen: pixels = (steps - center) * scale + size / 2, with y upward.
class MapView {
  // `map` has coordinates of each row in steps; `render` draws, and is for the subclass.
  constructor(stage) {
    this.stage = stage;
  }

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
    return { width: this.stage.clientWidth, height: this.stage.clientHeight };
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
}
