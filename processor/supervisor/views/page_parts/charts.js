// Charts over one time axis. A pointer on one shows the values of all series, in all charts, at its time.
const RANGES = {"5m": "5 min", "1h": "1 h", "6h": "6 h", "1d": "a day"};
const CHARTS = [
  {id: "rate", title: "Requests a second", lines: ["rate_per_s"]},
  {id: "latency", title: "Latency in the worker, ms: p99 (thick), p50", lines: ["p99_ms", "p50_ms"]},
  {id: "failures", title: "Failed calls a second", lines: ["failed_per_s"]},
  {id: "core-use", title: "Cores kept busy", lines: ["cores"]},
];
const LEFT = 44, BOTTOM = 18, TOP = 6, RIGHT = 6;
let span = "5m", past = null, cursor_s = null;

function svg(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function setUpCharts(onRange) {
  for (const [range, title] of Object.entries(RANGES)) {
    const button = make("button", title, {class: "plain", type: "button", "data-range": range, "aria-pressed": String(range === span)});
    button.addEventListener("click", () => {
      span = range;
      for (const other of $("ranges").children) other.setAttribute("aria-pressed", String(other === button));
      onRange();
    });
    $("ranges").append(button, " ");
  }
  for (const chart of CHARTS) {
    const drawing = svg("svg", {id: chart.id, class: "chart", role: "img", tabindex: 0, "aria-label": chart.title + " over time; arrow keys move through it"});
    drawing.addEventListener("pointermove", point);
    drawing.addEventListener("pointerdown", point);
    drawing.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") pointAt(null); });
    drawing.addEventListener("keydown", step);
    $("charts").append(make("div", [make("h3", chart.title), drawing, make("div", null, {class: "values", id: chart.id + "-values"})]));
  }
  document.addEventListener("pointerdown", event => { if (!event.target.closest(".chart")) pointAt(null); });
  window.addEventListener("resize", drawCharts);
}

function point(event) {
  if (!past) return;
  const box = event.currentTarget.getBoundingClientRect();
  const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
  pointAt(past.now_s - past.range_s * (1 - Math.min(1, Math.max(0, share))));
}

function step(event) {
  const way = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (event.key === "Escape") pointAt(null);
  if (!way || !past) return;
  event.preventDefault();
  const next = (cursor_s === null ? past.now_s : cursor_s) + way * past.step_s;
  pointAt(Math.min(past.now_s, Math.max(past.now_s - past.range_s, next)));
}

function pointAt(at_s) {
  if (at_s === cursor_s) return;
  cursor_s = at_s;
  drawCharts();
}

function drawCharts() {
  if (!past) return;
  $("at").textContent = cursor_s === null ? "values of now" : "values at " + clock(cursor_s);
  for (const chart of CHARTS) draw(chart);
}

// The point next to a time; none if that is further away than points are from each other.
function nearest(points, at_s) {
  let low = 0, high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < at_s) low = middle + 1; else high = middle;
  }
  const near = [points[low - 1], points[low]].filter(Boolean).sort((one, other) => Math.abs(one[0] - at_s) - Math.abs(other[0] - at_s))[0];
  return near && Math.abs(near[0] - at_s) <= 1.5 * past.step_s + 1 ? near : null;
}

function draw(chart) {
  const drawing = $(chart.id), width = drawing.clientWidth || 600, height = drawing.clientHeight || 150;
  const columns = chart.lines.map(line => 1 + past.series.indexOf(line));
  const names = Object.keys(past.versions);
  const start_s = past.now_s - past.range_s;
  const values = names.flatMap(name => past.versions[name].flatMap(at => columns.map(column => at[column])));
  const most = values.reduce((largest, value) => Math.max(largest, value || 0), 1e-9);
  const x = at_s => LEFT + (at_s - start_s) / past.range_s * (width - LEFT - RIGHT);
  const y = value => TOP + (height - BOTTOM - TOP) * (1 - value / most);
  const parts = [];
  for (const share of [0, .5, 1]) {
    parts.push(svg("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(most * share), y2: y(most * share)}));
    if (most > 1e-9 || !share) parts.push(svg("text", {x: LEFT - 5, y: y(most * share) + 4, "text-anchor": "end"}, short(most * share)));
  }
  const marks = Math.max(2, Math.min(6, Math.floor(width / 110)));
  for (let mark = 0; mark <= marks; mark++) {
    const at_s = start_s + past.range_s * mark / marks, anchor = mark === 0 ? "start" : mark === marks ? "end" : "middle";
    const shown = new Date(at_s * 1000).toLocaleTimeString([], {hourCycle: "h23", hour: "2-digit", minute: "2-digit", ...(past.range_s < 600 ? {second: "2-digit"} : {})});
    parts.push(svg("text", {x: x(at_s), y: height - 3, "text-anchor": anchor}, shown));
  }
  for (const name of names) {
    columns.forEach((column, index) => {
      const path = pathOf(past.versions[name], column, x, y);
      const again = place(name) >= SERIES ? " again" : "";
      if (path) parts.push(svg("path", {class: "line" + (index ? " second" : "") + again, d: path, style: "--owner:" + colour(name), "data-name": name}));
    });
  }
  if (cursor_s !== null && cursor_s >= start_s) {
    parts.push(svg("line", {class: "cursor", x1: x(cursor_s), x2: x(cursor_s), y1: TOP, y2: height - BOTTOM}));
  }
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.replaceChildren(...parts);
  const at_s = cursor_s === null ? past.now_s : cursor_s;
  put($(chart.id + "-values"), names.map(name => {
    const near = nearest(past.versions[name], at_s);
    return make("div", [make("span", [swatch(name), name], {title: name}), make("span", near ? columns.map(column => short(near[column])).join(", ") : "–")]);
  }));
}

// A line, broken where points are missing.
function pathOf(points, column, x, y) {
  let path = "", last_s = null;
  for (const at of points) {
    if (at[column] === null) { last_s = null; continue; }
    const joined = last_s !== null && at[0] - last_s <= 2.5 * past.step_s + 1;
    path += (joined ? "L" : "M") + x(at[0]).toFixed(1) + " " + y(at[column]).toFixed(1) + (joined ? "" : "h.01");
    last_s = at[0];
  }
  return path;
}
