"use strict";
// A few lineages: their way over the map, and their cells over hours.
explorerReady.then((explorer) => {
  if (!explorer) return;
  document.getElementById("lineages").hidden = false;
  const cards = document.getElementById("lineage-cards");

  // All cells in grey, and the lineage's tracks from dark to bright by hour.
  const drawWay = (canvas, branches) => {
    const { map, cells } = explorer;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const view = explorer.home;
    const place = (row) => [
      (0.5 + (map.x[row] - view.center[0]) / view.extent[0]) * width,
      (0.5 - (map.y[row] - view.center[1]) / view.extent[1]) * height,
    ];
    context.fillStyle = theme.color("unknown");
    const every = Math.ceil(cells.n / 6000);
    for (let n = 0; n < cells.n; n += every) {
      const [x, y] = place(explorer.order[n]);
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
        context.moveTo(...place(rows[n - 1]));
        context.lineTo(...place(rows[n]));
        context.stroke();
      }
      const end = rows.at(-1);
      context.fillStyle = color(end);
      context.beginPath();
      context.arc(...place(end), 4, 0, 2 * Math.PI);
      context.fill();
    }
  };

  const card = (lineage) => {
    const { cells } = explorer;
    const branches = cells.branchesOf(lineage);
    const rows = branches.flat();
    const first = rows[0];
    const told = (name) => cells.text(cells.column(name), first);
    const hours = rows.map((row) => cells.column("hours").values[row]);
    const made = document.createElement("div");
    made.className = "card";
    const heading = document.createElement("h3");
    heading.textContent = `${told("experiment")}, ${told("condition")}, track ${cells.track[first]}`;
    const note = document.createElement("p");
    note.className = "muted";
    const [from, to] = [Math.min(...hours), Math.max(...hours)].map((hour) => hour.toFixed(1));
    note.textContent = `n = ${rows.length} cells of ${branches.length} ${branches.length > 1 ? "tracks" : "track"}, ${from} to ${to} h`;
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Way of the lineage over the map: ${heading.textContent}`);
    const axes = document.createElement("p");
    axes.className = "muted axes";
    const strips = branches.flatMap((branch) => explorer.strip(branch, -1, 6));
    made.append(heading, note, canvas, axes, ...strips);
    const draw = () => {
      axes.textContent = `${explorer.map.heading}   dark: ${from} h, bright: ${to} h`;
      drawWay(canvas, branches);
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
