"use strict";
// A scatter of models: one score against another, each the mean over experiments.
{
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 760;
  const HEIGHT = 420;
  const MARGIN = { left: 62, right: 24, top: 18, bottom: 48 };
  const ABBREVIATIONS = { auroc: "AUROC", ilisi: "iLISI", clisi: "cLISI", mmd: "MMD" };
  const UNCORRECTED = "all, uncorrected";
  // As in the figures: a colour for what made the features; corrected ones are hollow.
  const KINDS = { trained: "#0072B2", untrained: "#777777", intensity: "#E69F00", pixels: "#CC79A7" };
  const colorOf = (kind) => KINDS[kind.split("+")[0]] ?? "#009E73";
  const fillOf = (kind) => (kind.includes("+") ? "transparent" : colorOf(kind));

  const draw = (tag, attributes, ...children) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  const words = (name) => name.split("_").map((word) => ABBREVIATIONS[word] ?? word).join(" ");

  // Limits of an axis, and round values between them.
  const scale = (values) => {
    const least = Math.min(...values);
    const most = Math.max(...values);
    const margin = 0.08 * (most - least) || 0.05;
    const [low, high] = [least - margin, most + margin];
    const power = 10 ** Math.floor(Math.log10((high - low) / 5));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= (high - low) / 5);
    const ticks = [];
    for (let n = Math.ceil(low / step); n * step <= high; n++) ticks.push(Number((n * step).toPrecision(6)));
    return { low, high, ticks };
  };

  // Axes with a grid; also returns where a value stands on them.
  const axes = (title, xs, ys, xLabel, yLabel) => {
    const [across, up] = [scale(xs), scale(ys)];
    const [right, bottom] = [WIDTH - MARGIN.right, HEIGHT - MARGIN.bottom];
    const x = (value) => MARGIN.left + ((value - across.low) / (across.high - across.low)) * (right - MARGIN.left);
    const y = (value) => bottom - ((value - up.low) / (up.high - up.low)) * (bottom - MARGIN.top);
    const middle = (MARGIN.top + bottom) / 2;
    const chart = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img" }, draw("title", {}, title));
    for (const value of across.ticks) {
      chart.append(
        draw("line", { class: "grid", x1: x(value), x2: x(value), y1: MARGIN.top, y2: bottom }),
        draw("text", { class: "tick", x: x(value), y: bottom + 16, "text-anchor": "middle" }, `${value}`),
      );
    }
    for (const value of up.ticks) {
      chart.append(
        draw("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }),
        draw("text", { class: "tick", x: MARGIN.left - 7, y: y(value) + 4, "text-anchor": "end" }, `${value}`),
      );
    }
    chart.append(
      draw("text", { x: (MARGIN.left + right) / 2, y: HEIGHT - 10, "text-anchor": "middle" }, xLabel),
      draw("text", { x: 16, y: middle, "text-anchor": "middle", transform: `rotate(-90 16 ${middle})` }, yLabel),
    );
    return { chart, x, y };
  };

  const dot = (kind, attributes) =>
    draw("circle", { r: 6, fill: fillOf(kind), stroke: colorOf(kind), "stroke-width": 2, ...attributes });

  const legend = (kinds) =>
    element(
      "ul",
      { className: "legend" },
      ...kinds.map((kind) => element("li", {}, draw("svg", { width: 16, height: 16 }, dot(kind, { cx: 8, cy: 8 })), ` ${kind}`)),
    );

  // `points`: name, kind, number of experiments, x and y.
  const drawPoints = (points, xLabel, yLabel) => {
    const title = `${yLabel} against ${xLabel}, ${points.length} sets of features`;
    const { chart, x, y } = axes(title, points.map((point) => point.x), points.map((point) => point.y), xLabel, yLabel);
    for (const point of points) {
      const [cx, cy] = [x(point.x), y(point.y)];
      const detail = `${point.name}: ${point.x.toFixed(3)}, ${point.y.toFixed(3)}, n = ${point.n} experiments`;
      const shown = dot(point.kind, { cx, cy, tabindex: 0 });
      shown.append(draw("title", {}, detail));
      const leftward = cx > WIDTH - 160;
      const anchor = leftward ? "end" : "start";
      chart.append(shown, draw("text", { x: cx + (leftward ? -10 : 10), y: cy + 4, "text-anchor": anchor }, point.name));
    }
    const number = [...new Set(points.map((point) => point.n))].sort().join(" or ");
    const count = `n = ${points.length} sets of features, each the mean of ${number} experiment${number === "1" ? "" : "s"}`;
    chart.append(draw("text", { x: MARGIN.left, y: 13 }, count));
    return chart;
  };

  const choice = (label, names, chosen, onChange) => {
    const select = element("select", {}, ...names.map((name) => new Option(name, name, false, name === chosen)));
    select.addEventListener("change", onChange);
    return [element("label", {}, `${label} `, select), select];
  };

  const fill = (holder, scores) => {
    const nameOf = (row) => [words(row.metric), row.task, words(row.estimate)].filter(Boolean).join(", ");
    const names = [...new Set(scores.map(nameOf))];
    const first = (test) => nameOf(scores.find(test) ?? scores[0]);
    const kinds = [...new Set(scores.map((row) => row.kind))];
    const severalModels = new Set(scores.map((row) => row.model)).size > 1;
    const chart = element("div");
    const update = () => {
      const isShown = ({ kind }) => (features.value === UNCORRECTED ? !kind.includes("+") : kind === features.value);
      const valuesOf = (name) =>
        new Map(scores.filter((row) => nameOf(row) === name && isShown(row)).map((row) => [`${row.model} ${row.variant}`, row]));
      const xs = valuesOf(xSelect.value);
      const points = [...valuesOf(ySelect.value)]
        .filter(([name]) => xs.has(name))
        .map(([name, row]) => ({ name, kind: row.kind, n: row.n_experiments, x: xs.get(name).value, y: row.value }));
      if (!points.length) chart.replaceChildren("No set of features has both.");
      else {
        const shownKinds = [...new Set(points.map((point) => point.kind))];
        chart.replaceChildren(drawPoints(points, xSelect.value, ySelect.value), legend(shownKinds));
      }
    };
    const [xLabel, xSelect] = choice("Across", names, first((row) => row.metric === "ilisi"), update);
    const isHeldOut = (row) => row.metric === "auroc" && row.estimate === "held_out";
    const [yLabel, ySelect] = choice("Up", names, first(isHeldOut), update);
    // Of several models the trained ones are shown at first.
    const shownFirst = severalModels && kinds.includes("trained") ? "trained" : UNCORRECTED;
    const [featureLabel, features] = choice("Features", [UNCORRECTED, ...kinds], shownFirst, update);
    holder.append(element("div", { className: "controls" }, xLabel, yLabel, featureLabel), chart);
    update();
  };

  const scores = readData("scores");
  if (scores.length) fill(document.getElementById("scatter"), scores);
}
