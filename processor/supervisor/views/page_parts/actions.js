// Promote, split, roll back: first what would change, then, once somebody says so, the change.
const KEY = "corelane-key";
let acting = null;

function act(name) {
  const model = latest.status.models.find(found => found.name === name);
  if (!model) return;
  acting = {model, action: "promote", asked: {}};
  $("act-title").textContent = "Whose calls go where: " + name;
  choose();
  $("act").showModal();
}

function say_in_dialog(parts) {
  $("act-body").replaceChildren();
  append($("act-body"), parts);
}

function press(text, kind, onClick) {
  const button = make("button", text, {class: kind, type: "button"});
  button.addEventListener("click", onClick);
  return button;
}

function close_dialog() {
  $("act").close();
}

async function choose(problem) {
  const {model} = acting;
  const action = make("select", [["promote", "Promote: all calls to one version"], ["split", "Split: calls by percentage"], ["rollback", "Roll back: as it was before"]]
    .map(([value, text]) => make("option", text, {value})), {id: "action"});
  action.value = acting.action;
  const inputs = make("div", await inputsOf(acting));
  action.addEventListener("change", async () => {
    acting.action = action.value;
    inputs.replaceChildren();
    append(inputs, await inputsOf(acting));
  });
  const needsKey = latest.status.page_actions === "key" && !sessionStorage.getItem(KEY);
  const key = make("input", null, {type: "password", id: "key", autocomplete: "off"});
  const plain = !window.isSecureContext && make("p", "This page came unencrypted: others on the way could read the key. A tunnel to this host's loopback is safer.", {class: "error"});
  say_in_dialog([
    problem && make("p", problem, {class: "error", role: "alert"}), make("label", action, {class: "whole"}), inputs,
    needsKey ? make("label", ["A manager's key or token, kept until this tab is closed", key], {class: "whole"}) : null, needsKey && plain || null,
    make("div", [press("Cancel", "plain", close_dialog), press("Show what changes", "plain go", () => {
      if (needsKey && key.value) sessionStorage.setItem(KEY, key.value);
      preview(bodyOf(model.name, action.value));
    })], {class: "bar-of-controls"}),
  ]);
}

async function inputsOf({model, action, asked}) {
  const listed = model.versions.filter(version => version.traffic !== null || version.shadow || model.versions.length > 1);
  if (action === "promote") {
    const select = make("select", listed.map(version => make("option", version.version + (version.label ? " (" + version.label + ")" : ""), {value: version.version})), {id: "version"});
    if (asked.version !== undefined) select.value = asked.version;
    return make("label", ["version", select]);
  }
  if (action === "split") {
    return listed.map(version => make("label", ["version " + version.version + (version.label ? " (" + version.label + ")" : "") + ", %",
      make("input", null, {type: "number", min: 0, max: 100, step: "any", class: "share", "data-version": version.version, value: (asked.shares || {})[version.version] ?? (version.traffic || 0)})]));
  }
  try {
    const {earlier} = await get("/v1/traffic/" + encodeURIComponent(model.name));
    if (!earlier.length) return make("p", "Nothing was promoted or split yet.", {class: "dim"});
    return make("label", ["to", make("select", earlier.map(split => make("option",
      `${split.back}: until ${clock(split.until_s)}, ` + split.versions.filter(entry => entry.traffic).map(entry => entry.version + ": " + entry.traffic + " %").join(", "),
      {value: split.back})), {id: "back"})], {class: "whole"});
  } catch (error) {
    return make("p", error.message, {class: "error"});
  }
}

function bodyOf(model, action) {
  const body = {action, model};
  if (action === "promote") body.version = Number($("version").value);
  if (action === "split") body.shares = Object.fromEntries([...document.querySelectorAll(".share")].map(input => [input.dataset.version, Number(input.value)]));
  // The newest is what a plain rollback returns to; that one is forgotten then, and not kept twice.
  if (action === "rollback" && $("back") && $("back").value !== "1") body.back = Number($("back").value);
  acting.asked = body;
  return body;
}

async function post(body) {
  const headers = {"Content-Type": "application/json"}, key = sessionStorage.getItem(KEY);
  if (key && latest.status.page_actions === "key") headers.Authorization = "Bearer " + key;
  const response = await fetch("/v1/traffic", {method: "POST", headers, body: JSON.stringify(body)});
  const answer = await response.json();
  if (response.status === 401 || response.status === 403) sessionStorage.removeItem(KEY);
  if (!response.ok) throw new Error(answer.problems.join("; "));
  return answer.said;
}

async function preview(body) {
  try {
    const said = await post({...body, dry_run: true});
    const sure = press("Do it", "plain go", async () => {
      sure.disabled = true;
      try {
        done(await post(body));
      } catch (error) {
        choose(error.message);
      }
    });
    say_in_dialog([make("p", "This would change:"), make("ul", said.map(sentence => make("li", sentence)), {id: "preview"}),
      make("div", [press("Back", "plain", () => choose()), sure], {class: "bar-of-controls"})]);
  } catch (error) {
    choose(error.message);
  }
}

function done(said) {
  say_in_dialog([make("p", "Done:"), make("ul", said.map(sentence => make("li", sentence)), {id: "done"}), press("Close", "plain", close_dialog)]);
}
