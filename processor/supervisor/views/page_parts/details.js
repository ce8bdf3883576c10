// What a version says of itself when it is opened.
const PARTS = {gateway: "--series-5", queue: "--series-2", pool: "--owner-pool", run: "--series-1"};

const LONG = 90;

function fields(pairs) {
  return make("dl", pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(
    ([name, value]) => {
      const text = make("dd", value);
      return make("div", [make("dt", name), text], text.textContent.length > LONG ? {class: "wide"} : {});
    }));
}

function because(value, why) {
  return value ? value + (why ? ": " + why : "") : null;
}

function ago(at_s, now_s) {
  return at_s === null || at_s === undefined ? null : clock(at_s) + ", " + duration(Math.max(0, now_s - at_s)) + " ago";
}

function detailsOf(version, plan, now_s) {
  const load = version.load, minute = version.last_minute, requests = version.requests;
  const parts = [fields([
    ["state", version.state + (version.available_since_s ? " since " + ago(version.available_since_s, now_s) : "")],
    ["loading", load && load.phase + (load.signature && " signature " + load.signature) + ", for " + duration(load.since_s)],
    [term("engine"), because(version.engine, version.engine_why)],
    [term("precision"), because(version.precision, version.precision_why)],
    ["instructions", version.onednn_isa],
    ["last error", version.error && make("span", version.error, {class: "no"})],
    ["error at", ago(version.error_at_s, now_s)],
    ["tried again", version.retry_in_s === null ? null : "in " + duration(version.retry_in_s)],
    ["restarts", version.restarts],
    ["load took", version.load_s === undefined ? null : number(version.load_s) + " s"],
    [term("session", "sessions"), version.sessions && version.sessions + " of " + version.threads_per_session + " thread" + (version.threads_per_session === 1 ? "" : "s")],
    ["now", requests && requests.running + " running, " + requests.queued + " queued"],
    [term("cores", "why these cores"), plan && plan.why],
    ["predicted p99", plan && plan.predicted.p99_ms !== null ? short(plan.predicted.p99_ms) + " ms" : null],
    ["SLO", plan && plan.slo_p99_ms ? plan.slo_p99_ms + " ms" + (plan.slo_met === false ? ", missed" : "") : null],
    ["process", version.pid],
  ])];
  if (version.notes && version.notes.length) parts.push(make("h3", "Notes"), make("ul", version.notes.map(note => make("li", note))));
  if (minute) parts.push(make("h3", "Why is it slow? The last minute"), ...slowness(minute));
  return parts;
}

function slowness(minute) {
  const parts = [make("p", minute.why, {class: "why"})];
  if (minute.parts_ms) {
    const shares = Object.entries(minute.parts_ms);
    parts.push(bar(shares.map(([name, ms]) => [name, ms, `var(${PARTS[name]})`])));
    parts.push(make("div", shares.map(([name, ms]) => make("span",
      [make("span", null, {class: "swatch", style: `--owner:var(${PARTS[name]})`}), term(name === "run" ? "session" : name, name), " " + short(ms) + " ms"])), {class: "legend"}));
  }
  const ends = Object.entries(minute.codes).map(([code, count]) => code + " " + count);
  parts.push(fields([["calls", minute.calls], ["ended", ends.join(", ")], ["mean", minute.mean_ms === null ? null : short(minute.mean_ms) + " ms"],
    ["queue was full", minute.refused || null]]));
  return parts;
}

// Parts of a whole: [name, value, colour].
function bar(parts) {
  const sum = parts.reduce((total, [, value]) => total + value, 0);
  return make("div", parts.filter(([, value]) => sum > 0 && value > 0).map(([name, value, paint]) => {
    const share = 100 * value / sum;
    return make("div", share < 8 ? "" : name + " " + share.toFixed(0) + " %", {style: `width:${share}%;--owner:${paint}`, title: name + " " + share.toFixed(1) + " %"});
  }), {class: "bar"});
}
