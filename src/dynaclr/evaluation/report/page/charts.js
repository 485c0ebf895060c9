"use strict";
// Charts of scores: a scatter of models, and metrics over hours.

// Okabe and Ito (2008), as in the figures of the other stages.
const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"];

const readData = (name) => JSON.parse(document.getElementById(`data-${name}`).textContent);

{
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 760;
  const HEIGHT = 420;
  const MARGIN = { left: 62, right: 24, top: 18, bottom: 48 };

  const draw = (tag, attributes, ...children) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  const ABBREVIATIONS = { auroc: "AUROC", ilisi: "iLISI", clisi: "cLISI", kbet: "kBET", mmd: "MMD", nmi: "NMI", ari: "ARI" };
  const words = (name) => name.split("_").map((word) => ABBREVIATIONS[word] ?? word).join(" ");

  const ticks = (low, high) => {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const made = [];
    for (let n = Math.ceil(low / step); n * step <= high + 1e-9; n++) made.push(Number((n * step).toPrecision(6)));
    return made;
  };

  const range = (values) => {
    const low = Math.min(...values);
    const high = Math.max(...values);
    const margin = 0.08 * (high - low) || 0.05;
    return [low - margin, high + margin];
  };

  // Axes with grid; returns the drawing and where a value stands on it.
  const axes = (title, xs, ys, xLabel, yLabel, width = WIDTH, height = HEIGHT) => {
    const [x0, x1] = range(xs);
    const [y0, y1] = range(ys);
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    const x = (value) => MARGIN.left + ((value - x0) / (x1 - x0)) * (right - MARGIN.left);
    const y = (value) => bottom - ((value - y0) / (y1 - y0)) * (bottom - MARGIN.top);
    const chart = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img" });
    chart.append(draw("title", {}, title));
    for (const value of ticks(x0, x1)) {
      chart.append(
        draw("line", { class: "grid", x1: x(value), x2: x(value), y1: MARGIN.top, y2: bottom }),
        draw("text", { class: "tick", x: x(value), y: bottom + 16, "text-anchor": "middle" }, `${value}`),
      );
    }
    for (const value of ticks(y0, y1)) {
      chart.append(
        draw("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }),
        draw("text", { class: "tick", x: MARGIN.left - 7, y: y(value) + 4, "text-anchor": "end" }, `${value}`),
      );
    }
    const middle = (MARGIN.top + bottom) / 2;
    chart.append(
      draw("text", { x: (MARGIN.left + right) / 2, y: height - 10, "text-anchor": "middle" }, xLabel),
      draw("text", { x: 16, y: middle, "text-anchor": "middle", transform: `rotate(-90 16 ${middle})` }, yLabel),
    );
    return { chart, x, y };
  };

  const colorsOf = (names) => new Map([...new Set(names)].map((name, n) => [name, PALETTE[n % PALETTE.length]]));

  // As in the figures: baselines in quiet colours.
  const KINDS = { trained: "#0072B2", untrained: "#8a8a8a", intensity: "#E69F00" };
  const kindColors = (kinds) => {
    const others = colorsOf(["trained", "intensity", ...kinds.filter((kind) => !KINDS[kind])]);
    return new Map([...new Set(kinds)].map((kind) => [kind, KINDS[kind] ?? others.get(kind)]));
  };

  const choice = (label, names, chosen, onChange) => {
    const select = document.createElement("select");
    for (const name of names) select.add(new Option(name, name, false, name === chosen));
    select.addEventListener("change", onChange);
    const made = document.createElement("label");
    made.append(`${label} `, select);
    return [made, select];
  };

  const legend = (colors) => {
    const list = document.createElement("ul");
    list.className = "legend";
    for (const [name, color] of colors) {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.cssText = `background:${color};display:inline-block;margin-right:.4rem`;
      item.append(swatch, name);
      list.append(item);
    }
    return list;
  };

  const scatter = (place, scores) => {
    const measure = (row) => [words(row.metric), row.task, words(row.estimate)].filter(Boolean).join(", ");
    const measures = [...new Set(scores.map(measure))];
    const named = (test) => measures[scores.findIndex(test) < 0 ? 0 : measures.indexOf(measure(scores.find(test)))];
    const xFirst = named((row) => row.metric === "ilisi");
    const yFirst = named((row) => row.metric === "auroc" && row.estimate === "held_out");
    const colors = kindColors(scores.map((row) => row.kind));
    const controls = document.createElement("div");
    const holder = document.createElement("div");
    controls.className = "controls";
    const update = () => {
      const at = (name) => new Map(scores.filter((row) => measure(row) === name).map((row) => [`${row.model} ${row.variant}`, row]));
      const xs = at(xSelect.value);
      const ys = at(ySelect.value);
      const both = [...xs.keys()].filter((key) => ys.has(key));
      holder.replaceChildren();
      if (!both.length) {
        holder.textContent = "No set of features has both.";
        return;
      }
      const xValues = both.map((key) => xs.get(key).value);
      const yValues = both.map((key) => ys.get(key).value);
      const title = `${ySelect.value} against ${xSelect.value}, ${both.length} sets of features`;
      const { chart, x, y } = axes(title, xValues, yValues, xSelect.value, ySelect.value);
      both.forEach((key, n) => {
        const { kind, n_experiments: of } = ys.get(key);
        const point = draw("circle", { cx: x(xValues[n]), cy: y(yValues[n]), r: 6, fill: colors.get(kind), tabindex: 0 });
        point.append(draw("title", {}, `${key}: ${xValues[n].toFixed(3)}, ${yValues[n].toFixed(3)}, mean of ${of} experiments`));
        const left = x(xValues[n]) > WIDTH - 160;
        chart.append(
          point,
          draw("text", { x: x(xValues[n]) + (left ? -10 : 10), y: y(yValues[n]) + 4, "text-anchor": left ? "end" : "start" }, key),
        );
      });
      holder.append(chart);
    };
    const [xLabel, xSelect] = choice("Across", measures, xFirst, update);
    const [yLabel, ySelect] = choice("Up", measures, yFirst, update);
    controls.append(xLabel, yLabel);
    place.append(controls, holder, legend(colors));
    update();
  };

  const curvePanel = (experiment, rows, metric, colors) => {
    const whole = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]);
    const { chart, x, y } = axes(
      `${metric} over hours, ${experiment}`, rows.map((row) => row.hours), whole, "hours", metric, 480, 300,
    );
    for (const [variant, line] of Map.groupBy(rows, (row) => `${row.model} ${row.variant}`)) {
      line.sort((a, b) => a.hours - b.hours);
      const color = colors.get(variant);
      const band = line.filter((row) => row.low !== null && row.high !== null);
      const upper = band.map((row) => `${x(row.hours)},${y(row.high)}`);
      const lower = band.map((row) => `${x(row.hours)},${y(row.low)}`).reverse();
      chart.append(
        draw("polygon", { points: [...upper, ...lower].join(" "), fill: color, "fill-opacity": 0.15 }),
        draw("polyline", {
          points: line.map((row) => `${x(row.hours)},${y(row.value)}`).join(" "),
          fill: "none", stroke: color, "stroke-width": 2,
        }),
      );
    }
    const counts = rows.map((row) => row.n_rows).filter((n) => n !== null);
    const n = counts.length ? `, n = ${Math.min(...counts)} to ${Math.max(...counts)} a point` : "";
    chart.append(draw("text", { x: MARGIN.left, y: 13 }, `${experiment}${n}`));
    return chart;
  };

  const curves = (place, records) => {
    const rows = records.filter((row) => row.value !== null && row.hours !== null);
    const measure = (row) => [words(row.metric), row.task].filter(Boolean).join(", ");
    const measures = [...new Set(rows.map(measure))];
    const colors = colorsOf(rows.map((row) => `${row.model} ${row.variant}`));
    const panels = document.createElement("div");
    panels.className = "panels";
    const update = () => {
      const shown = rows.filter((row) => measure(row) === select.value);
      const by = Map.groupBy(shown, (row) => row.experiment ?? "all experiments");
      panels.replaceChildren(...[...by].map(([name, part]) => curvePanel(name, part, select.value, colors)));
    };
    const [label, select] = choice("Over hours", measures, measures[0], update);
    const controls = document.createElement("div");
    controls.className = "controls";
    controls.append(label);
    place.append(controls, panels, legend(colors));
    update();
  };

  const scores = readData("scores");
  if (scores.length) scatter(document.getElementById("scatter"), scores);
  const records = readData("curves");
  if (records.length) curves(document.getElementById("curves"), records);
}
