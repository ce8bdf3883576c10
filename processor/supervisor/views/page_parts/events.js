// What happened, the newest first; of one model, if that is chosen.
const EVENTS_AT_FIRST = 100, EVENTS_MAX = 1000;
let event_limit = EVENTS_AT_FIRST;

function setUpEvents(onChange) {
  $("event-model").addEventListener("change", () => { event_limit = EVENTS_AT_FIRST; onChange(); });
  $("more-events").addEventListener("click", () => { event_limit = EVENTS_MAX; onChange(); });
}

function eventsPath() {
  const model = $("event-model").value;
  return "/v1/events?limit=" + event_limit + (model ? "&model=" + encodeURIComponent(model) : "");
}

// Models that left the manifest have events, too, and are kept as a choice while they are chosen.
function eventModels(status) {
  const select = $("event-model");
  const names = status.models.map(model => model.name);
  if (select.value && !names.includes(select.value)) names.push(select.value);
  keep(select, ["", ...names.map(name => "m:" + name)], key => key === "" ? select.options[0] : make("option", key.slice(2), {value: key.slice(2)}));
}

function events(list) {
  $("more-events").hidden = event_limit === EVENTS_MAX || list.length < event_limit;
  put($("events"), [...list].reverse().map(event => make("li", [
    make("time", clock(event.at_s)), make("span", event.kind, {class: "kind " + event.kind.replaceAll(" ", "-")}),
    event.model && make("b", event.model + (event.version === null ? "" : "/" + event.version) + " "),
    event.text, event.by && make("span", " (by " + event.by + ")", {class: "dim"}),
  ])));
}
