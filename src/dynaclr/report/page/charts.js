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

  // More names than colours: the next eight are dashed.
  const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
  const stylesOf = (names) =>
    new Map(
      [...new Set(names)].map((name, n) => [
        name,
        { color: PALETTE[n % PALETTE.length], dash: DASHES[Math.floor(n / PALETTE.length) % DASHES.length] },
      ]),
    );

  // As in the figures: a colour for what made the features, whatever the correction, which is dashed.
  const KINDS = { trained: "#0072B2", untrained: "#8a8a8a", intensity: "#E69F00", pixels: "#CC79A7" };
  const CORRECTIONS = ["", "zscore", "transport"];
  const kindStyles = (kinds) =>
    new Map(
      [...new Set(kinds)].map((kind) => {
        const [base, correction = ""] = kind.split("+");
        return [kind, { color: KINDS[base] ?? "#009E73", dash: DASHES[Math.max(CORRECTIONS.indexOf(correction), 0)] }];
      }),
    );

  const choice = (label, names, chosen, onChange) => {
    const select = document.createElement("select");
    for (const name of names) select.add(new Option(name, name, false, name === chosen));
    select.addEventListener("change", onChange);
    const made = document.createElement("label");
    made.append(`${label} `, select);
    return [made, select];
  };

  const legend = (styles) => {
    const list = document.createElement("ul");
    list.className = "legend";
    for (const [name, { color, dash }] of styles) {
      const item = document.createElement("li");
      const key = draw("svg", { width: 26, height: 10, class: "key" });
      key.append(draw("line", { x1: 1, x2: 25, y1: 5, y2: 5, stroke: color, "stroke-width": 3, "stroke-dasharray": dash }));
      item.append(key, ` ${name}`);
      list.append(item);
    }
    return list;
  };

  // Which features are shown: as they are, or one kind alone; of several models the trained ones at first.
  const UNCORRECTED = "all, uncorrected";
  const featureChoice = (rows, onChange) => {
    const kinds = [...new Set(rows.map((row) => row.kind))];
    const several = new Set(rows.map((row) => row.model)).size > 1 && kinds.includes("trained");
    return choice("Features", [UNCORRECTED, ...kinds], several ? "trained" : UNCORRECTED, onChange);
  };
  const isChosen = (row, chosen) => (chosen === UNCORRECTED ? !row.kind.includes("+") : row.kind === chosen);

  const scatter = (place, scores) => {
    const measure = (row) => [words(row.metric), row.task, words(row.estimate)].filter(Boolean).join(", ");
    const measures = [...new Set(scores.map(measure))];
    const named = (test) => measures[scores.findIndex(test) < 0 ? 0 : measures.indexOf(measure(scores.find(test)))];
    const xFirst = named((row) => row.metric === "ilisi");
    const yFirst = named((row) => row.metric === "auroc" && row.estimate === "held_out");
    const holderOfLegend = document.createElement("div");
    const controls = document.createElement("div");
    const holder = document.createElement("div");
    controls.className = "controls";
    const update = () => {
      const at = (name) => new Map(scores.filter((row) => measure(row) === name && isChosen(row, featureSelect.value)).map((row) => [`${row.model} ${row.variant}`, row]));
      const xs = at(xSelect.value);
      const ys = at(ySelect.value);
      const both = [...xs.keys()].filter((key) => ys.has(key));
      holder.replaceChildren();
      const styles = kindStyles(both.map((key) => xs.get(key).kind));
      holderOfLegend.replaceChildren(legend(styles));
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
        const { color, dash } = styles.get(kind);
        const point = draw("circle", {
          cx: x(xValues[n]), cy: y(yValues[n]), r: 6, fill: dash ? "transparent" : color, tabindex: 0,
          stroke: color, "stroke-width": 2, "stroke-dasharray": dash,
        });
        point.append(draw("title", {}, `${key}: ${xValues[n].toFixed(3)}, ${yValues[n].toFixed(3)}, n = ${of} experiments`));
        const left = x(xValues[n]) > WIDTH - 160;
        chart.append(
          point,
          draw("text", { x: x(xValues[n]) + (left ? -10 : 10), y: y(yValues[n]) + 4, "text-anchor": left ? "end" : "start" }, key),
        );
      });
      const ofs = both.map((key) => ys.get(key).n_experiments);
      const number = [...new Set(ofs)].sort().join(" or ");
      const n = `n = ${both.length} sets of features, each the mean of ${number} experiment${number === "1" ? "" : "s"}`;
      chart.append(draw("text", { x: MARGIN.left, y: 13 }, n));
      holder.append(chart);
    };
    const [featureLabel, featureSelect] = featureChoice(scores, () => update());
    const [xLabel, xSelect] = choice("Across", measures, xFirst, update);
    const [yLabel, ySelect] = choice("Up", measures, yFirst, update);
    controls.append(xLabel, yLabel, featureLabel);
    place.append(controls, holder, holderOfLegend);
    update();
  };

  const curvePanel = (experiment, rows, metric, styleOf) => {
    const whole = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]);
    const { chart, x, y } = axes(
      `${metric} over hours, ${experiment}`, rows.map((row) => row.hours), whole, "hours", metric, 480, 300,
    );
    for (const [, line] of Map.groupBy(rows, (row) => `${row.model} ${row.variant}`)) {
      line.sort((a, b) => a.hours - b.hours);
      const { color, dash } = styleOf(line[0]);
      const band = line.filter((row) => row.low !== null && row.high !== null);
      const upper = band.map((row) => `${x(row.hours)},${y(row.high)}`);
      const lower = band.map((row) => `${x(row.hours)},${y(row.low)}`).reverse();
      chart.append(
        draw("polygon", { points: [...upper, ...lower].join(" "), fill: color, "fill-opacity": 0.15 }),
        draw("polyline", {
          points: line.map((row) => `${x(row.hours)},${y(row.value)}`).join(" "),
          fill: "none", stroke: color, "stroke-width": 2, "stroke-dasharray": dash,
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
    const models = stylesOf(rows.map((row) => row.model));
    const kinds = kindStyles(rows.map((row) => row.kind));
    const holderOfLegend = document.createElement("div");
    const panels = document.createElement("div");
    panels.className = "panels";
    const update = () => {
      const shown = rows.filter((row) => measure(row) === select.value && isChosen(row, featureSelect.value));
      // Several models differ by colour, one model's features by what made them.
      const [styles, name] = models.size > 1 ? [models, (row) => row.model] : [kinds, (row) => row.kind];
      const there = new Set(shown.map(name));
      holderOfLegend.replaceChildren(legend([...styles].filter(([key]) => there.has(key))));
      const by = Map.groupBy(shown, (row) => row.experiment ?? "all experiments");
      panels.replaceChildren(...[...by].map(([experiment, part]) => curvePanel(experiment, part, select.value, (row) => styles.get(name(row)))));
    };
    const [label, select] = choice("Over hours", measures, measures[0], update);
    const controls = document.createElement("div");
    controls.className = "controls";
    const [featureLabel, featureSelect] = featureChoice(rows, () => update());
    controls.append(label, featureLabel);
    place.append(controls, panels, holderOfLegend);
    update();
  };

  const scores = readData("scores");
  if (scores.length) scatter(document.getElementById("scatter"), scores);
  const records = readData("curves");
  if (records.length) curves(document.getElementById("curves"), records);
}
