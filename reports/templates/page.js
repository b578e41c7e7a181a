"use strict";
// Draws the charts with Observable Plot and makes the tables of layers sortable and filterable. Colours are custom
// properties of the style sheet, so that light, dark and print need no second drawing.
(() => {
  const ORIGINAL = "var(--original)";
  const COMPRESSED = "var(--compressed)";
  const WON = "var(--won)";
  const ENGINES = { original: ORIGINAL, compressed: COMPRESSED };
  const SVG = "http://www.w3.org/2000/svg";

  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    if (className) element.className = className;
    return element;
  };

  const swatch = (colour, shape) => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 10 10");
    svg.setAttribute("aria-hidden", "true");
    const mark = document.createElementNS(SVG, shape === "line" ? "path" : "circle");
    if (shape === "line") {
      mark.setAttribute("d", "M5 0V10");
      mark.setAttribute("stroke-width", "2.5");
    } else {
      for (const [name, value] of [["cx", 5], ["cy", 5], ["r", 4]]) mark.setAttribute(name, value);
      mark.setAttribute("stroke-width", "1.6");
    }
    mark.setAttribute("stroke", colour);
    mark.setAttribute("fill", shape === "ring" ? "none" : colour);
    svg.append(mark);
    return svg;
  };

  const legend = (entries) => {
    const list = make("ul", "", "legend");
    for (const [text, colour, shape] of entries) {
      const item = make("li", text);
      item.prepend(swatch(colour, shape));
      list.append(item);
    }
    return list;
  };

  // An empty figure is not displayed, and has no width of its own yet.
  const widthOf = (figure) => figure.clientWidth || figure.parentElement.clientWidth || 860;

  const draw = (options, figure) => Plot.plot({
    className: "plot",
    width: Math.max(300, Math.min(860, widthOf(figure))),
    marginBottom: 40,
    ariaLabel: figure.dataset.label,
    ...options,
  });

  const grid = (axis) => (axis === "x" ? Plot.gridX : Plot.gridY)({ stroke: "var(--grid)", strokeOpacity: 1 });

  const round = (value, digits = 3) => (value === null ? "" : Number(value.toPrecision(digits)).toString());

  const padded = (values, share = 0.12) => {
    const low = Math.min(...values);
    const high = Math.max(...values);
    const room = (high - low || Math.abs(high) || 1) * share;
    return [low - room, high + room];
  };

  const KINDS = {
    drop(chart, figure) {
      const marks = [
        grid("x"),
        Plot.ruleX([0], { stroke: "var(--muted)" }),
        Plot.ruleY([chart], { x1: "low", x2: "high", y: 0, stroke: COMPRESSED, strokeWidth: 5, strokeLinecap: "round" }),
        Plot.dot([chart], { x: "drop", y: 0, r: 7, fill: COMPRESSED, stroke: "var(--page)", strokeWidth: 2 }),
      ];
      const ends = [0, chart.low, chart.high];
      const entries = [["drop with its interval", COMPRESSED, "dot"], ["no drop", "var(--muted)", "line"]];
      if (chart.budget !== null) {
        marks.push(Plot.ruleX([chart.budget], { stroke: WON, strokeWidth: 2.5 }));
        ends.push(chart.budget);
        entries.push(["budget", WON, "line"]);
      }
      const x = { domain: padded(ends), label: `${chart.unit} →`, labelAnchor: "center" };
      const y = { axis: null, domain: [-1, 1] };
      return [legend(entries), draw({ height: 104, marginTop: 8, x, y, marks }, figure)];
    },

    rounds(chart, figure) {
      const bars = chart.bars.map((bar) => ({ ...bar, title: `${bar.engine}\n${round(bar.from)}–${round(bar.to)} ms\n${round(bar.share)} % of the rounds` }));
      const marks = [
        grid("y"),
        ...Object.entries(ENGINES).map(([engine, fill]) => Plot.rectY(bars.filter((bar) => bar.engine === engine),
          { x1: "from", x2: "to", y: "share", fill, fillOpacity: 0.72, title: "title", tip: true, inset: 0.5 })),
        ...chart.medians.map(({ engine, ms }) => Plot.ruleX([ms], { stroke: ENGINES[engine], strokeWidth: 2, strokeDasharray: "5 3" })),
        Plot.ruleY([0], { stroke: "var(--muted)" }),
      ];
      const x = { label: "milliseconds of a call →", labelAnchor: "center" };
      const beyond = chart.beyond ? ` ${chart.beyond} slower rounds are beyond the right edge.` : "";
      return [
        legend([["original", ORIGINAL, "dot"], ["compressed", COMPRESSED, "dot"]]),
        draw({ height: 250, x, y: { label: "↑ % of rounds" }, marks }, figure),
        make("figcaption", `Dashed lines are the medians.${beyond}`),
      ];
    },

    percentiles(chart, figure) {
      const marks = [
        grid("x"),
        Plot.ruleY(chart.points, { x1: "low", x2: "high", y: "engine", fy: "percentile", stroke: (d) => ENGINES[d.engine], strokeWidth: 4 }),
        Plot.dot(chart.points, { x: "ms", y: "engine", fy: "percentile", fill: (d) => ENGINES[d.engine], r: 5.5,
          title: (d) => `${d.percentile} of the ${d.engine} engine: ${round(d.ms)} ms`, tip: true }),
      ];
      const options = {
        height: 210, marginLeft: 88, x: { label: "milliseconds of a call →", labelAnchor: "center" },
        y: { label: null, domain: ["original", "compressed"] }, fy: { label: null }, marginRight: 40, marks,
      };
      return [legend([["original", ORIGINAL, "dot"], ["compressed", COMPRESSED, "dot"]]), draw(options, figure)];
    },

    pareto(chart, figure) {
      const known = chart.points.filter((point) => point.db !== null).map((point) => point.db);
      const exact = known.length < chart.points.length;
      const [low, high] = known.length ? padded(known, 0.2) : [0, 40];
      const top = exact ? high + (high - low) * 0.15 : high;
      const points = chart.points.map((point) => ({
        ...point,
        y: point.db === null ? top : point.db,
        title: `${point.how}\n${point.outcome}\n${round(point.ms)} ms, outputs ${point.db === null ? "equal" : `${round(point.db)} dB`}`,
      }));
      const front = points.filter((point) => point.front).sort((a, b) => a.ms - b.ms);
      const colour = (point) => (point.graph === "original" ? ORIGINAL : COMPRESSED);
      const raced = points.filter((point) => point.graph !== "mixed");
      const tried = points.filter((point) => point.graph === "mixed");
      const marks = [
        grid("x"), grid("y"),
        Plot.line(front, { x: "ms", y: "y", curve: "step-after", stroke: "var(--muted)", strokeDasharray: "4 3" }),
        Plot.dot(tried, { x: "ms", y: "y", r: 3.5, fill: "none", stroke: "var(--muted)", strokeWidth: 1.4, title: "title", tip: true }),
        Plot.dot(raced, { x: "ms", y: "y", r: 5, fill: colour, fillOpacity: 0.8, stroke: "var(--page)", title: "title", tip: true }),
        Plot.dot(points.filter((point) => point.won), { x: "ms", y: "y", r: 10, stroke: WON, strokeWidth: 3 }),
      ];
      const x = { label: "median milliseconds of a call →", labelAnchor: "center", domain: padded(points.map((point) => point.ms), 0.08) };
      const y = { domain: [low, top + (high - low) * 0.08], label: "↑ SQNR of the outputs to the original’s, dB",
        tickFormat: (value) => (exact && value >= top ? "equal" : String(value)) };
      return [
        legend([["compressed graph", COMPRESSED, "dot"], ["original graph", ORIGINAL, "dot"], ["chosen", WON, "ring"],
          ...(tried.length ? [["tried by mixed precision", "var(--muted)", "ring"]] : [])]),
        draw({ height: 320, marginLeft: 48, x, y, marks }, figure),
        make("figcaption", `The dashed line is the Pareto front.${exact ? " Candidates at the top edge give outputs equal to the original’s." : ""}`),
      ];
    },

    layers(chart, figure) {
      const MEASURES = {
        sqnr: ["SQNR at the layer, dB: lower is noisier", "dB"],
        time: ["time, microseconds", "µs"],
        bound: ["share of the roofline bound, %: lower is further from it", "%"],
      };
      const select = make("select");
      for (const name of Object.keys(chart.measures)) {
        const option = make("option", MEASURES[name][0]);
        option.value = name;
        select.append(option);
      }
      const label = make("label", "Chart of every layer, in the order of the graph");
      label.append(select);
      const place = make("div");
      const show = () => {
        const values = chart.measures[select.value];
        const unit = MEASURES[select.value][1];
        const rows = chart.names.map((name, i) => ({ number: chart.numbers[i], value: values[i], float: chart.precisions[i] !== "int8",
          title: `${name}\n${chart.precisions[i]}\n${round(values[i])} ${unit}` })).filter((row) => row.value !== null);
        const fill = (row) => (row.float ? WON : COMPRESSED);
        const marks = [
          grid("y"),
          rows.length > 150
            ? Plot.ruleX(rows, { x: "number", y: "value", stroke: fill, strokeWidth: 1.3 })
            : Plot.rectY(rows, { x1: (d) => d.number - 0.4, x2: (d) => d.number + 0.4, y: "value", fill }),
          Plot.ruleY([0], { stroke: "var(--muted)" }),
          Plot.tip(rows, Plot.pointerX({ x: "number", y: "value", title: "title" })),
        ];
        const x = { label: "number of the layer →", labelAnchor: "center", ticks: Math.min(12, rows.length), tickFormat: "d" };
        place.replaceChildren(draw({ height: 240, marginLeft: 48, x, y: { label: `↑ ${unit}`, zero: true }, marks }, figure));
      };
      select.addEventListener("change", show);
      show();
      return [label, legend([["INT8", COMPRESSED, "dot"], ["other precision", WON, "dot"]]), place];
    },

    classes(chart, figure) {
      const narrow = widthOf(figure) < 500;
      const short = (name) => (name.length > (narrow ? 12 : 24) ? `${name.slice(0, narrow ? 11 : 23)}…` : name);
      const marks = [
        grid("x"),
        Plot.barX(chart.classes, { x: "points", y: (d, i) => i, fill: (d) => (d.points < 0 ? WON : COMPRESSED), tip: true,
          title: (d) => `${d.name}\n${d.lost} lost, ${d.gained} gained` }),
        Plot.ruleX([0], { stroke: "var(--muted)" }),
      ];
      const y = { label: null, tickFormat: (i) => short(chart.classes[i].name), tickSize: 0 };
      return [
        legend([["lost", WON, "dot"], ["gained", COMPRESSED, "dot"]]),
        draw({ height: 56 + 22 * chart.classes.length, marginLeft: narrow ? 96 : 176, x: { label: "change of recall, points →", labelAnchor: "center" }, y, marks }, figure),
      ];
    },
  };

  const drawAll = () => {
    for (const chart of JSON.parse(document.getElementById("charts").textContent)) {
      const figure = document.getElementById(chart.place);
      if (!figure) continue;
      figure.replaceChildren(...KINDS[chart.kind](chart, figure));
      // One picture with its label for a screen reader: the numbers are in the table beside it.
      for (const svg of figure.querySelectorAll("svg.plot")) {
        svg.setAttribute("role", "img");
        for (const part of svg.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
        if (figure.dataset.label) svg.setAttribute("aria-label", figure.dataset.label);
      }
    }
  };

  const collator = new Intl.Collator("en", { numeric: true });

  const sortRows = (body, column, direction) => {
    const key = (row) => {
      const cell = row.cells[column];
      return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
    };
    const rows = Array.from(body.rows, (row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return direction * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
    });
    body.append(...rows.map(([, row]) => row));
  };

  const makeSortable = (table, status) => {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const name = head.textContent;
      const button = make("button", name);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sortRows(table.tBodies[0], column, down ? -1 : 1);
        status.textContent = `${status.dataset.count} Sorted by ${name}, ${down ? "descending" : "ascending"}.`;
      });
    });
  };

  const makeFilterable = (section, table, status) => {
    const text = section.querySelector(".filter-text");
    const precision = section.querySelector(".filter-precision");
    const rows = Array.from(table.tBodies[0].rows, (row) => [`${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase(), row]);
    for (const value of [...new Set(rows.map(([, row]) => row.dataset.p))].sort()) {
      if (value) precision.append(make("option", value));
    }
    const filter = () => {
      const wanted = text.value.trim().toLowerCase();
      let shown = 0;
      for (const [words, row] of rows) {
        row.hidden = !(words.includes(wanted) && (!precision.value || row.dataset.p === precision.value));
        shown += !row.hidden;
      }
      status.dataset.count = `${shown} of ${rows.length} layers.`;
      status.textContent = status.dataset.count;
    };
    text.addEventListener("input", filter);
    precision.addEventListener("change", filter);
    section.querySelector(".filters").hidden = false;
    filter();
  };

  const offerCopy = () => {
    const button = document.querySelector(".copy");
    if (!button || !navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const said = document.querySelector(".copied");
      try {
        await navigator.clipboard.writeText(document.getElementById("command").textContent);
        said.textContent = "Copied.";
      } catch {
        said.textContent = "Not allowed here: select the text.";
      }
    });
  };

  drawAll();
  for (const section of document.querySelectorAll(".layers")) {
    const table = section.querySelector(".sortable");
    const status = section.querySelector(".matches");
    makeFilterable(section, table, status);
    makeSortable(table, status);
  }
  offerCopy();
  let width = window.innerWidth;
  let waiting = 0;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
})();
