"use strict";
// Fills the figures of the page. All names come from JSON and are written as text, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const read = (name) => { const found = $("data-" + name); return found && JSON.parse(found.textContent); };
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const option = (select, title, value) => { const made = new Option(title, value); select.add(made); return made; };
  const short = (x) => !Number.isFinite(x) ? "–" : Math.abs(x) >= 1e5 || (x !== 0 && Math.abs(x) < 1e-3) ? x.toExponential(2) : String(Number(x.toPrecision(4)));

  // Tables
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      const key = (row) => { const cell = row.cells[column]; return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value); };
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (typeof x === "string" || typeof y === "string") return direction * String(x).localeCompare(String(y));
        return Number.isNaN(x) - Number.isNaN(y) || direction * (x - y); // what is missing comes last
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      body.append(...rows);
    }));
  }
  for (const one of document.querySelectorAll("figure svg")) if (one.viewBox.baseVal.width > 420) one.dataset.wide = "";

  const items = read("bokeh");
  if (!items) { document.documentElement.dataset.ready = ""; return; }
  Bokeh.set_log_level("error"); // it warns that figures are empty before they are filled
  const plots = {};
  window.ljVae = { plots };
  const source = (plot, name) => plots[plot].model.document.get_model_by_name(name);
  const repaint = () => Object.values(plots).forEach((view) => { view.invalidate_layout(); });

  async function start() {
    for (const [name, item] of Object.entries(items)) {
      const views = await Bokeh.embed.embed_item(item, name);
      plots[name] = [...views][0];
    }
    if (innerWidth < 700) plots.plane?.model.setv({ height: 380 });
    explore(); distribute();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    matchMedia("print").addEventListener("change", repaint);
    document.documentElement.dataset.ready = "";
  }

  // The latent plane
  function explore() {
    const data = read("explorer");
    if (!data || !plots.plane) return;
    const n = data.particles, total = data.rows.length, side = data.side;
    const floats = (entry) => new Float32Array(bytes(entry.values));
    const axes = data.axes.map(floats), fields = data.fields.map(floats);
    const positions = new Uint16Array(bytes(data.positions)), moved = new Uint8Array(bytes(data.moved));
    const made = data.reconstruction && new Uint16Array(bytes(data.reconstruction));
    const grid = data.grid && new Uint8Array(bytes(data.grid));
    const suite = new Uint16Array(total);
    data.suites.reduce((first, one, k) => { suite.fill(k, first, first + one.count); return first + one.count; }, 0);
    const markers = ["circle", "triangle", "square", "diamond", "inverted_triangle", "star", "hex"];
    const hues = data.suites.map((_, k) => k === 0 ? "#8a93a3" : `hsl(${(k - 1) * 137.5 % 360} 65% 50%)`);
    const on = data.suites.map((_, k) => k === 0);
    const [x, y, colour] = [$("axis-x"), $("axis-y"), $("colour")];
    data.axes.forEach((axis, k) => { option(x, axis.title, k); option(y, axis.title, k); });
    y.value = Math.min(1, data.axes.length - 1);
    data.fields.forEach((field, k) => option(colour, field.title, k));
    option(colour, "suite", "suite");
    const boxes = data.suites.map((one, k) => {
      const label = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("span");
      box.type = "checkbox"; box.checked = on[k]; swatch.className = "swatch"; swatch.style.background = hues[k];
      box.addEventListener("change", () => { on[k] = box.checked; if (k) colour.value = "suite"; draw(); });
      label.append(box, swatch, `${one.name} (${one.count})`);
      $("layers").append(label);
      return box;
    });
    for (const [title, wanted] of [["all", true], ["only normal", false]]) {
      const button = document.createElement("button");
      button.type = "button"; button.textContent = title;
      button.addEventListener("click", () => { boxes.forEach((box, k) => { box.checked = on[k] = wanted || k === 0; }); if (wanted) colour.value = "suite"; draw(); });
      $("layers").prepend(button);
    }
    const points = source("plane", "points"), chosen = source("plane", "chosen");
    function span(values) { // of the colours; the outermost 2 % exceed it
      const sorted = Float64Array.from(values.filter(Number.isFinite)).sort(), at = (p) => sorted[Math.round(p * (sorted.length - 1))];
      return sorted.length ? { low: at(0.02), high: at(0.98) } : { low: 0, high: 1 };
    }
    function draw() {
      const bySuite = colour.value === "suite", field = fields[colour.value];
      const shown = [...suite.keys()].filter((i) => on[suite[i]]), range = bySuite ? null : span(shown.map((i) => field[i]));
      const shade = (i) => {
        if (bySuite) return hues[suite[i]];
        if (!Number.isFinite(field[i])) return "#8a93a3";
        const t = (field[i] - range.low) / (range.high - range.low || 1);
        return data.palette[Math.round(Math.max(0, Math.min(1, t)) * (data.palette.length - 1))];
      };
      points.data = {
        x: shown.map((i) => axes[x.value][i]), y: shown.map((i) => axes[y.value][i]), index: shown,
        color: shown.map(shade), marker: shown.map((i) => markers[suite[i] % markers.length]),
      };
      plots.plane.model.below[0].axis_label = data.axes[x.value].title;
      plots.plane.model.left[0].axis_label = data.axes[y.value].title;
      $("scale-bar").style.background = bySuite ? "none" : `linear-gradient(90deg, ${data.palette.join()})`;
      $("scale-low").textContent = bySuite ? "" : short(range.low);
      $("scale-high").textContent = bySuite ? "" : short(range.high);
      mark();
    }
    let current = 0;
    function mark() { chosen.data = { x: [axes[x.value][current]], y: [axes[y.value][current]] }; }
    const coordinate = (q) => q ? (2 * q / 65535 - 0.5) * side : NaN;
    const odd = (i, k) => { const bit = i * n + k; return moved[bit >> 3] >> (bit & 7) & 1; };
    function particles(all, i) {
      const own = all.subarray(2 * n * i, 2 * n * (i + 1));
      return [0, 1].map((c) => Array.from({ length: n }, (_, k) => coordinate(own[2 * k + c])));
    }
    function show(i) {
      current = i;
      const [px, py] = particles(positions, i);
      source("picture", "true").data = { x: px, y: py, color: px.map((_, k) => odd(i, k) ? "#d9534f" : "#3f7fc4") };
      let error = "";
      if (made) {
        const [qx, qy] = particles(made, i);
        source("picture", "made").data = { x: qx, y: qy };
        source("picture", "lines").data = { x0: px, y0: py, x1: qx, y1: qy };
        const squares = px.map((_, k) => (px[k] - qx[k]) ** 2 + (py[k] - qy[k]) ** 2);
        error = `\nposition error ${short(Math.sqrt(squares.reduce((a, b) => a + b, 0) / n))} σ, largest ${short(Math.sqrt(Math.max(...squares)))} σ`;
      }
      if (grid) {
        const cells = data.cells, own = grid.subarray(cells * cells * i, cells * cells * (i + 1));
        source("picture", "image").data = { image: [ndarray(Float64Array.from(own, (v) => 255 - v), cells)], x: [0], y: [0], side: [side] };
      }
      const values = data.fields.map((field, k) => `${field.title} ${short(fields[k][i])}`);
      $("told").textContent = `${data.suites[suite[i]].name}, configuration ${data.rows[i]}${error}\n${values.join(" · ")}`;
      mark();
    }
    const ndarray = (values, cells) => new (Bokeh.require("core/util/ndarray").Float64NDArray)(values, [cells, cells]);
    const margin = 0.07 * side;
    for (const range of [plots.picture.model.x_range, plots.picture.model.y_range]) {
      range.setv({ start: -margin, end: side + margin, reset_start: -margin, reset_end: side + margin });
    }
    plots.picture.model.below[0].axis_label = "x (σ)";
    plots.picture.model.left[0].axis_label = "y (σ)";
    source("picture", "box").data = { x: [side / 2], y: [side / 2], side: [side] };
    $("made-title").textContent = grid ? "no positions; grey cells are the reconstruction" : !made ? "this decoder gives no positions" : data.aligned ? "reconstruction, turned onto the configuration" : "reconstruction";
    for (const select of [x, y, colour]) select.addEventListener("change", draw);
    const point = ({ indices }) => { if (indices.length) show(points.data.index[indices[0]]); };
    points.inspect.connect(() => point(points.inspected));
    points.selected.properties.indices.change.connect(() => point(points.selected));
    draw(); show(0);
  }

  // Histograms and ROC curves
  function distribute() {
    const data = read("distributions");
    if (!data || !plots.roc) return;
    const [suite, score] = [$("suite"), $("score")];
    Object.keys(data.suites).forEach((name) => option(suite, name, name));
    Object.entries(data.titles).forEach(([name, title]) => option(score, title, name));
    function draw() {
      const own = data.suites[suite.value], chosen = own.scores[score.value], edges = chosen.edges;
      for (const name of ["normal", "own"]) {
        source("histogram", "bars_" + name).data = { left: edges.slice(0, -1), right: edges.slice(1), top: chosen[name] };
      }
      plots.histogram.model.below[0].axis_label = (chosen.logarithmic ? "log₁₀ of " : "") + data.titles[score.value];
      $("own-title").textContent = suite.value;
      const names = Object.keys(own.scores);
      source("roc", "curves").data = {
        xs: names.map(() => data.false_positives), ys: names.map((name) => own.scores[name].roc),
        color: names.map((_, k) => data.colours[k % data.colours.length]), width: names.map((name) => name === score.value ? 4 : 1.5),
      };
      $("roc-legend").replaceChildren(...names.map((name, k) => {
        const entry = document.createElement("span"), key = document.createElement("span"), one = own.scores[name];
        key.className = "key"; key.style.background = data.colours[k % data.colours.length];
        entry.className = name === score.value ? "chosen" : "";
        entry.append(key, `${data.titles[name]} ${one.auroc}${one.wrong ? " (wrong sign)" : ""}`);
        return entry;
      }), `   ceiling ${own.ceiling}`);
    }
    for (const select of [suite, score]) select.addEventListener("change", draw);
    draw();
  }
  start();
})();
