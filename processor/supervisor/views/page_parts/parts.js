// Everything that the server says is text: it never becomes markup.
const $ = id => document.getElementById(id);

function make(tag, content, attributes) {
  const element = document.createElement(tag);
  append(element, content);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "style") element.style.cssText = value; else element.setAttribute(name, value);
  }
  return element;
}

function append(element, content) {
  for (const part of Array.isArray(content) ? content : [content]) {
    if (part !== null && part !== undefined) element.append(part instanceof Node ? part : String(part));
  }
}

function number(value, digits = 1) {
  return value === null || value === undefined ? "–" : Number(value).toFixed(digits);
}

// Three digits that count, and no more than anybody reads.
function short(value) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 10000) return Math.round(value / 1000) + "k";
  if (Math.abs(value) >= 100 || value === 0) return String(Math.round(value));
  return Math.abs(value) < 0.005 ? "0" : value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

function percent(part, whole) {
  return whole ? (100 * part / whole).toFixed(part === 0 || part === whole ? 0 : 2) + " %" : "–";
}

function duration(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * length) return Math.floor(seconds / length) + " " + unit;
  }
  return Math.round(seconds) + " s";
}

function clock(at_s) {
  const at = new Date(at_s * 1000), today = new Date().toDateString() === at.toDateString();
  return (today ? "" : at.toLocaleDateString() + " ") + at.toLocaleTimeString([], {hourCycle: "h23"});
}

// 0-3, 8: as the commands write cores.
function ranges(cpus) {
  const parts = [];
  for (const cpu of [...cpus].sort((one, other) => one - other)) {
    const last = parts[parts.length - 1];
    if (last && cpu === last[1] + 1) last[1] = cpu; else parts.push([cpu, cpu]);
  }
  return parts.map(([first, last]) => first === last ? String(first) : first + "-" + last).join(", ");
}

const SERIES = 10;
const places = new Map();

function place(name) {
  if (!places.has(name)) places.set(name, places.size);
  return places.get(name);
}

// Of a version, the pool, the reserve, or nobody; a place in the palette serves for every tenth version.
function colour(name) {
  if (name === "") return "var(--owner-free)";
  return name === "pool" || name === "reserve" ? `var(--owner-${name})` : `var(--series-${place(name) % SERIES})`;
}

function swatch(name) {
  return make("span", null, {class: "swatch", style: "--owner:" + colour(name)});
}

// Children by key, made once and kept: what somebody has opened, chosen or focused stays so.
function keep(parent, keys, create) {
  const kept = parent.kept || (parent.kept = new Map());
  for (const [key, element] of kept) if (!keys.includes(key)) { element.remove(); kept.delete(key); }
  keys.forEach((key, index) => {
    if (!kept.has(key)) kept.set(key, create(key));
    if (parent.children[index] !== kept.get(key)) parent.insertBefore(kept.get(key), parent.children[index] || null);
  });
  return kept;
}

// Gives an element new content, and leaves alone what is the same: a focus, a selection, a place in a list stay.
function put(element, content) {
  match(element, make("div", content));
}

function match(old, fresh) {
  const nodes = [...fresh.childNodes];
  nodes.forEach((node, index) => {
    const before = old.childNodes[index];
    if (!before) old.append(node);
    else if (before.nodeName !== node.nodeName) before.replaceWith(node);
    else if (node.nodeType === Node.TEXT_NODE) { if (before.data !== node.data) before.data = node.data; }
    else {
      for (const {name} of [...before.attributes]) if (!node.hasAttribute(name)) before.removeAttribute(name);
      for (const {name, value} of node.attributes) if (before.getAttribute(name) !== value) before.setAttribute(name, value);
      match(before, node);
    }
  });
  while (old.childNodes.length > nodes.length) old.lastChild.remove();
}

// Columns: [id, title (text or an element), whether it is a number]. Rows: {key, cells: {id: content}}.
function grid(table, columns, rows) {
  if (!table.tHead) table.append(make("thead"), make("tbody"));
  if (!table.tHead.rows.length) {
    table.tHead.append(make("tr", columns.map(([, title, right]) => make("th", title, right ? {class: "n"} : {}))));
  }
  const body = table.tBodies[0];
  const kept = keep(body, rows.flatMap(row => row.details ? ["r:" + row.key, "d:" + row.key] : ["r:" + row.key]), key => {
    if (key.startsWith("d:")) return make("tr", make("td", null, {colspan: columns.length}), {class: "details", hidden: ""});
    return make("tr", columns.map(([, title, right]) => make("td",
      [make("span", title instanceof Node ? title.cloneNode(true) : title, {class: "name"}), make("span")], right ? {class: "n"} : {})));
  });
  for (const row of rows) {
    columns.forEach(([id], index) => {
      const content = row.cells[id];
      const cell = kept.get("r:" + row.key).cells[index], empty = content === undefined || content === null;
      cell.classList.toggle("empty", empty);
      put(cell.lastChild, empty ? "–" : content);
    });
    if (row.details) row.details(kept.get("r:" + row.key), kept.get("d:" + row.key));
  }
}
