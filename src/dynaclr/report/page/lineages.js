"use strict";
// A few lineages: their paths over the map, and their cells over hours.
explorerReady.then((explorer) => {
  if (!explorer) return;
  document.getElementById("lineages").hidden = false;
  const cards = document.getElementById("lineage-cards");

  // All cells in grey, and the lineage's tracks from dark to bright by hour.
  const drawPath = (canvas, branches) => {
    const { map, cells } = explorer;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const view = explorer.home;
    const pixelOf = (row) => [
      (0.5 + (map.x[row] - view.center[0]) / view.extent[0]) * width,
      (0.5 - (map.y[row] - view.center[1]) / view.extent[1]) * height,
    ];
    context.fillStyle = theme.color("unknown");
    const every = Math.ceil(cells.n / 6000);
    for (let n = 0; n < cells.n; n += every) {
      const [x, y] = pixelOf(explorer.order[n]);
      context.fillRect(x - 1, y - 1, 2, 2);
    }
    const hours = cells.column("hours").values;
    const all = branches.flat().map((row) => hours[row]);
    const [first, last] = [Math.min(...all), Math.max(...all)];
    const color = (row) => `rgb(${lineColor((hours[row] - first) / (last - first || 1))})`;
    context.lineWidth = 2.2;
    context.lineCap = "round";
    for (const rows of branches) {
      for (let n = 1; n < rows.length; n++) {
        context.strokeStyle = color(rows[n]);
        context.beginPath();
        context.moveTo(...pixelOf(rows[n - 1]));
        context.lineTo(...pixelOf(rows[n]));
        context.stroke();
      }
      const end = rows.at(-1);
      context.fillStyle = color(end);
      context.beginPath();
      context.arc(...pixelOf(end), 4, 0, 2 * Math.PI);
      context.fill();
    }
  };

  const card = (lineage) => {
    const { cells } = explorer;
    const branches = cells.branchesOf(lineage);
    const rows = branches.flat();
    const first = rows[0];
    const text = (name) => cells.text(cells.column(name), first);
    const hours = rows.map((row) => cells.column("hours").values[row]);
    const [from, to] = [Math.min(...hours), Math.max(...hours)].map((hour) => hour.toFixed(1));
    const title = `${text("experiment")}, ${text("condition")}, track ${cells.track[first]}`;
    const tracks = `${branches.length} ${branches.length > 1 ? "tracks" : "track"}`;
    const note = element("p", { className: "muted" }, `n = ${rows.length} cells of ${tracks}, ${from} to ${to} h`);
    const canvas = element("canvas", { role: "img", ariaLabel: `Path of the lineage over the map: ${title}` });
    const axes = element("p", { className: "muted axes" });
    const strips = branches.map((branch) => explorer.panel.strip(branch, -1, 6)).filter((strip) => strip);
    const made = element("div", { className: "card" }, element("h3", {}, title), note, canvas, axes, ...strips);
    const draw = () => {
      axes.textContent = `${explorer.map.heading}   dark: ${from} h, bright: ${to} h`;
      drawPath(canvas, branches);
    };
    return { made, draw };
  };

  let shown = [];
  const redraw = () => shown.forEach(({ draw }) => draw());
  const rebuild = () => {
    shown = explorer.cells.chosen.map(card);
    cards.replaceChildren(...shown.map(({ made }) => made));
    redraw();
  };
  rebuild();
  for (const change of ["mapchange", "themechange"]) document.addEventListener(change, redraw);
  document.addEventListener("modelchange", rebuild);
  new ResizeObserver(redraw).observe(cards);
});
