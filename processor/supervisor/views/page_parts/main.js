// The loop: what the server says, drawn every two seconds while anybody looks; less often where it takes the server long.
const LOOK_MS = 2000, PATIENCE = 10;
let latest = null, past_at = 0;

async function get(path) {
  const response = await fetch(path);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.problems ? answer.problems.join("; ") : path + " answered " + response.status);
  return answer;
}

async function lookBack() {
  past = await get("/v1/history?range=" + span);
  past_at = Date.now();
  drawCharts();
}

async function lookAtEvents() {
  events((await get(eventsPath())).events);
}

function summary(status, report) {
  $("host").textContent = report.host.name ? "on " + report.host.name : "";
  $("summary").textContent = (status.ready ? "ready" : "not ready yet") + " · gRPC " + status.grpc + (status.http ? " · REST " + status.http : "") +
    " · " + status.gateways.length + " gateways · up " + duration(status.uptime_s) + " · " + report.host.description;
}

async function look() {
  const [status, report] = await Promise.all(["/v1/status", "/v1/report"].map(get));
  latest = {status, report};
  summary(status, report);
  versions(status, report);
  cores(report);
  pool(status, report);
  arms(status, report);
  eventModels(status);
  // Coarse points are few and far between.
  if (!past || Date.now() - past_at >= Math.min(30000, 250 * past.step_s)) await lookBack();
  await lookAtEvents();
}

function lost(error) {
  $("lost").textContent = error ? "The server does not answer: what is shown is old. " + error.message : "";
  $("lost").style.display = error ? "block" : "none";
}

async function attempt(task) {
  try {
    await task();
    lost(null);
  } catch (error) {
    lost(error);
  }
}

async function always() {
  const begun = Date.now();
  if (!document.hidden || !latest) await attempt(look);
  setTimeout(always, Math.max(LOOK_MS, PATIENCE * (Date.now() - begun)));
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) attempt(look); });
setUpCharts(() => attempt(lookBack));
setUpEvents(() => attempt(lookAtEvents));
always();
