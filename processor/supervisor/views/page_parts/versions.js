// The table of models and versions, and that of the arms beside each other.
const opened = new Set();
const nameOf = (model, version) => model.name + "/" + version.version;

function versions(status, report) {
  const planned = new Map(report.versions.map(plan => [plan.model + "/" + plan.version, plan]));
  const columns = [["name", "version"], ["state", "state"], ["traffic", term("traffic")], ["role", term("role")], ["engine", term("engine")],
    ["cores", term("cores")], ["rate", term("req/s"), 1], ["p50", term("p50", "p50 ms"), 1], ["p99", term("p99", "p99 ms"), 1],
    ["slo", term("SLO", "SLO ms"), 1], ["failed", term("failed"), 1], ["memory", term("MiB"), 1]];
  const rows = [], problems = [];
  for (const model of status.models) {
    if (model.problem) problems.push(model.name + ": " + model.problem);
    if (!model.versions.length) rows.push({key: model.name, cells: {name: model.name, state: make("span", "no version", {class: "state no"})}});
    for (const version of model.versions) {
      const name = nameOf(model, version), plan = planned.get(name);
      if (version.error) problems.push(name + ": " + version.error);
      rows.push({key: name, cells: cellsOf(name, version, plan), details: (row, details) => unfold(row, details, name, () => detailsOf(version, plan, status.now_s))});
    }
  }
  grid($("versions"), columns, rows);
  if (status.manifest_error) problems.push("the changed manifest is not applied: " + status.manifest_error);
  put($("problems"), problems.concat(report.problems).map(text => make("p", text, {class: "error"})));
}

function cellsOf(name, version, plan) {
  const minute = version.last_minute, missed = plan && plan.slo_met === false;
  const cores = plan && (plan.shares ? [term("pool"), " " + ranges(plan.cpus)] : ranges(plan.cpus));
  return {
    name: [make("button", name, {class: "toggle", type: "button", "aria-expanded": String(opened.has(name))}), version.label && make("span", version.label, {class: "label"})],
    state: make("span", version.state + (version.load ? ": " + version.load.phase : ""), {class: "state " + version.state}),
    traffic: version.shadow ? [term("shadow"), " " + version.shadow + " %"] : version.traffic === null ? null : version.traffic + " %",
    role: term(version.role),
    engine: version.engine && version.engine + ", " + version.precision,
    cores: plan && make("span", [cores, ` (${version.sessions} session${version.sessions === 1 ? "" : "s"})`].flat()),
    rate: plan && short(plan.rate_per_s), p50: plan && plan.measured.p50_ms !== null ? short(plan.measured.p50_ms) : null,
    p99: plan && plan.measured.p99_ms !== null ? make("span", short(plan.measured.p99_ms), missed ? {class: "no"} : {}) : null,
    slo: plan && plan.slo_p99_ms,
    failed: minute && minute.calls ? make("span", percent(minute.failed, minute.calls), minute.failed ? {class: "no"} : {}) : null,
    memory: version.memory_bytes && Math.round(version.memory_bytes / 1048576),
  };
}

function unfold(row, details, name, content) {
  const button = row.querySelector(".toggle"), cell = details.cells[0];
  const show = () => {
    details.hidden = !opened.has(name);
    button.setAttribute("aria-expanded", String(!details.hidden));
    if (!details.hidden) put(cell, content());
  };
  button.onclick = () => {
    if (!opened.delete(name)) opened.add(name);
    show();
  };
  show();
}

function arms(status, report) {
  const planned = new Map(report.versions.map(plan => [plan.model + "/" + plan.version, plan]));
  const columns = [["version", "version"], ["traffic", term("traffic")], ["assigned", "calls by split", 1], ["share", "of them", 1],
    ["rate", term("req/s"), 1], ["p50", term("p50", "p50 ms"), 1], ["p99", term("p99", "p99 ms"), 1], ["failed", term("failed"), 1],
    ["shadow", term("shadow", "shadow's answers"), 1]];
  const target = $("arms"), several = status.models.filter(model => model.versions.length > 1);
  const kept = keep(target, several.map(model => model.name), name => {
    const title = make("div", make("h3", name), {class: "bar-of-controls"});
    if (status.page_actions !== "off") {
      const button = make("button", "Change…", {class: "plain", type: "button"});
      button.addEventListener("click", () => act(name));
      title.append(button);
    }
    return make("div", [title, make("table")], {"data-model": name});
  });
  for (const model of several) {
    const free = version => version.assigned ? version.assigned.split + version.assigned.sticky + version.assigned.highest : 0;
    const sum = model.versions.reduce((total, version) => total + free(version), 0);
    grid(kept.get(model.name).querySelector("table"), columns, model.versions.map(version => {
      const plan = planned.get(nameOf(model, version)), cells = cellsOf(nameOf(model, version), version, plan), answers = version.shadow_answers;
      return {key: String(version.version), cells: {
        ...cells, version: version.version + (version.label ? " (" + version.label + ")" : ""),
        assigned: free(version), share: sum ? percent(free(version), sum) : null,
        shadow: version.shadow ? ["equal", "different", "failed", "dropped"].map(end => (answers[end] || 0) + " " + end).join(", ") : null,
      }};
    }));
  }
  $("acting").textContent = !several.length ? "No model has two versions."
    : status.page_actions === "off" ? "The page may only look: listen.page_actions in the manifest lets it act. corelane promote, traffic and rollback act in any case." : "";
}
