"use strict";
// What the page says of the cell that is pointed at or chosen, and of selected cells.
class CellPanel {
  constructor(explorer) {
    this.explorer = explorer;
  }

  get cells() {
    return this.explorer.cells;
  }

  title(row) {
    const { cells } = this;
    const experiment = cells.text(cells.column("experiment"), row);
    return `${experiment}, ${cells.fovNames[cells.fov[row]]}, track ${cells.track[row]}, ${this.hour(row)}`;
  }

  hour(row) {
    return `${this.cells.column("hours").values[row].toFixed(1)} h`;
  }

  image(row) {
    return this.explorer.pictures.image(this.cells, row, `Cell: ${this.title(row)}`);
  }

  // The small panel beside the pointer; x and y are its pixels.
  showTip(row, x, y) {
    const { tip } = this.explorer.part;
    tip.hidden = row < 0;
    if (row < 0) return;
    const { column } = this.explorer;
    const image = this.image(row);
    const text = element("div", {}, this.title(row), element("br"), `${column.name}: ${this.cells.text(column, row)}`);
    tip.replaceChildren(...(image ? [image] : []), text);
    const { width, height } = this.explorer.size();
    tip.style.left = x > width / 2 ? "" : `${x + 16}px`;
    tip.style.right = x > width / 2 ? `${width - x + 16}px` : "";
    tip.style.top = y > height / 2 ? "" : `${y + 12}px`;
    tip.style.bottom = y > height / 2 ? `${height - y + 12}px` : "";
  }

  update() {
    const { current, selected, part } = this.explorer;
    if (current >= 0) part.side.replaceChildren(...this.ofCell(current));
    else if (selected.length) part.side.replaceChildren(...this.ofSelection(selected));
    else {
      const hint = "Point at a cell, or press Enter on the map.";
      part.side.replaceChildren(element("h3", {}, "Cell"), element("p", { className: "muted" }, hint));
    }
  }

  ofCell(row) {
    const { cells } = this;
    const image = this.image(row);
    const shown = image ? [image, this.markers(row)] : [element("p", { className: "muted" }, "No picture of this cell is in the page.")];
    const facts = [
      ["field of view", cells.fovNames[cells.fov[row]]],
      ["track", `${cells.track[row]}`],
      ["frame", `${cells.t[row]}`],
      ...cells.columns.map((column) => [column.name, cells.text(column, row)]),
    ];
    const track = cells.trackOf(row);
    const strip = this.strip(track, row);
    const heading = strip ? [element("h3", {}, `Its track, ${track.length} frames`), strip] : [];
    return [element("h3", {}, "Cell"), ...shown, ...heading, this.list(facts)];
  }

  list(facts) {
    return element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  }

  markers(row) {
    const experiment = this.cells.text(this.cells.column("experiment"), row);
    const { markers, height_um: size } = this.explorer.pictures.of[experiment];
    const names = element("div", { className: "markers" }, ...markers.map((name) => element("span", {}, name)));
    return element("div", {}, names, element("span", { className: "muted" }, size ? `${size} µm high` : ""));
  }

  // The cells among `rows` that have pictures, thinned to `most`, with their hours; null without any.
  strip(rows, current = -1, most = 24) {
    const shown = rows.filter((row) => this.cells.picture[row] >= 0);
    if (!shown.length) return null;
    const every = Math.ceil(shown.length / most);
    const buttons = shown
      .filter((_, n) => n % every === 0)
      .map((row) => {
        const button = element("button", { type: "button", title: this.title(row) }, this.image(row), this.hour(row));
        button.classList.toggle("here", row === current);
        button.addEventListener("click", () => this.explorer.pin(row));
        return button;
      });
    return element("div", { className: "strip" }, ...buttons);
  }

  ofSelection(selected) {
    const { cells } = this;
    const facts = cells.columns
      .filter((column) => column.names)
      .map((column) => {
        const counts = Map.groupBy(selected, (row) => cells.text(column, row));
        const most = [...counts].sort((a, b) => b[1].length - a[1].length).slice(0, 6);
        const share = (rows) => `${((100 * rows.length) / selected.length).toFixed(0)} %`;
        return [column.name, most.map(([name, rows]) => `${name} ${share(rows)}`).join(", ")];
      });
    const experiment = cells.column("experiment");
    const keys = selected.map((row) =>
      [cells.text(experiment, row), cells.fovNames[cells.fov[row]], cells.track[row], cells.t[row]].join(","),
    );
    const csv = new Blob([["experiment,fov,track_id,t", ...keys, ""].join("\n")], { type: "text/csv" });
    const save = element("a", { download: "cells.csv", href: URL.createObjectURL(csv) }, "Save their keys as CSV");
    const strip = this.strip(selected);
    const heading = element("h3", {}, `${selected.length.toLocaleString("en")} cells selected`);
    return [heading, this.list(facts), save, ...(strip ? [strip] : [])];
  }
}
