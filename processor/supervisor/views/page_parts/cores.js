// Who has which cores, and how busy they are; the pool's shares.
const FEW = 32;
let used_before = null;

function cores(report) {
  const threads = report.host.map;
  const nodes = new Map();
  for (const thread of threads) {
    const name = "socket " + thread.socket + ", node " + thread.node;
    if (!nodes.has(name)) nodes.set(name, new Map());
    const groups = nodes.get(name);
    if (!groups.has(thread.cache)) groups.set(thread.cache, []);
    groups.get(thread.cache).push(thread);
  }
  const few = threads.length <= FEW;
  $("cores").className = few ? "few" : "";
  const kept = keep($("cores"), [...nodes.keys()], name => make("div", [make("div", name, {class: "dim"}), make("div", null, {class: "groups"})], {class: "node"}));
  for (const [name, groups] of nodes) {
    const boxes = keep(kept.get(name).lastChild, [...groups.keys()], () => make("div", null, {class: "group"}));
    for (const [cache, members] of groups) {
      const cells = keep(boxes.get(cache), members.map(thread => thread.cpu), () => make("button", [make("span"), make("i")], {class: "cpu", type: "button"}));
      for (const thread of members) core(cells.get(thread.cpu), thread, few);
    }
  }
  owners(threads, report.pool);
}

function core(cell, thread, few) {
  const owner = thread.owner || "free", busy = thread.busy;
  const said = `Core ${thread.cpu}: ${owner}, ` + (busy === null || busy === undefined ? "not known how busy" : `${(100 * busy).toFixed(0)} % busy`) +
    `, whoever uses it (socket ${thread.socket}, node ${thread.node}, cache group ${thread.cache}).`;
  cell.style.setProperty("--owner", colour(thread.owner));
  cell.style.setProperty("--busy", busy === null || busy === undefined ? "0%" : (100 * busy).toFixed(0) + "%");
  cell.title = said;
  cell.setAttribute("aria-label", said);
  cell.firstChild.className = thread.owner ? "" : "free";
  put(cell.firstChild, few && typeof busy === "number" ? [String(thread.cpu), make("small", ` ${(100 * busy).toFixed(0)}%`)] : String(thread.cpu));
  cell.onclick = () => { $("core-said").textContent = said; };
}

function owners(threads) {
  const names = [...new Set(threads.map(thread => thread.owner))];
  put($("core-legend"), names.map(name => {
    const theirs = threads.filter(thread => thread.owner === name), known = theirs.filter(thread => typeof thread.busy === "number");
    const mean = known.reduce((sum, thread) => sum + thread.busy, 0) / known.length;
    const busy = known.length ? `, ${(100 * mean).toFixed(0)} % busy` : "";
    const shown = name in WORDS ? term(name) : name || "free";
    return make("span", [swatch(name), shown, `: ${ranges(theirs.map(thread => thread.cpu))}${busy}`]);
  }));
}

function pool(status, report) {
  const members = report.versions.filter(plan => plan.shares).map(plan => plan.model + "/" + plan.version);
  const all = new Map(status.models.flatMap(model => model.versions.map(version => [nameOf(model, version), version])));
  const used = members.map(name => {
    const last = used_before && used_before.get(name), now = all.get(name);
    return [name, last && now && now.cpu_s >= last.cpu_s ? now.cpu_s - last.cpu_s : 0, colour(name)];
  });
  used_before = all;
  put($("pool-title"), ["The ", term("pool")]);
  if (!members.length) {
    put($("pool"), make("p", report.pool.why || "No version shares cores.", {class: "dim"}));
    return;
  }
  const cpus = report.pool.cpus, busy = used.some(([, value]) => value > 0);
  put($("pool"), [
    make("div", cpus.length + (cpus.length === 1 ? " core: " : " cores: ") + ranges(cpus), {class: "dim"}),
    make("h3", term("by weight")), bar(members.map(name => [name, (all.get(name) || {}).pool_weight || 1, colour(name)])),
    make("h3", [term("CPU used"), busy ? " just now" : " just now: none"]), bar(used),
    make("div", members.map(name => make("span", [swatch(name), name])), {class: "legend"}),
    report.pool.why && make("p", report.pool.why, {class: "dim"}),
  ]);
}
