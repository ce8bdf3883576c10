// What a word means, where it stands: hover, tap or focus.
const WORDS = {
  baseline: "A version that has cores of its own, as many as its SLO takes. No other version runs there.",
  ab: "A version on trial. It shares the cores of the pool with the others of this role.",
  pool: "Cores that A/B versions share. No more of their requests run at once than the pool has cores; who is furthest behind their share is next.",
  reserve: "Cores for gateways and the system. No version runs there.",
  session: "A thread of a version's worker that runs one request, or one batch, at a time.",
  shadow: "A version that gets copies of other versions' calls. Its answers go to nobody; they are compared with those that clients got.",
  SLO: "The latency that 99 of 100 requests should stay under (slo_p99_ms). Red: they did not, in the last half minute.",
  p50: "Half of the requests took no longer, in the worker, waiting included; of the last half minute.",
  p99: "99 of 100 requests took no longer, in the worker, waiting included; of the last half minute.",
  gateway: "A process that takes clients' calls and hands them to workers.",
  queue: "Where requests wait for a session of their version.",
  traffic: "The share of calls that get this version, of those that name neither a version nor a label.",
  role: "baseline: cores of its own. ab: the pool's.",
  label: "A name that clients may call a version by, such as stable or canary.",
  engine: "What runs the model: TensorFlow, ONNX Runtime, OpenVINO, or a fused plan. The reason is under the version.",
  precision: "The numbers that the model computes with: fp32, or bf16 and int8, which are faster and coarser.",
  "pool weight": "The share of the pool that this version gets, beside the others' weights.",
  failed: "Calls without an answer in the last minute, of all; those that a client gave up, or that found the queue full, are among them.",
  "req/s": "Requests that came, a second, over the last ten seconds.",
  cores: "Hardware threads that the version's sessions run on, and how many sessions there are.",
  MiB: "Memory of the version's worker (resident).",
  "CPU used": "Processor time of each version's worker since this page looked last.",
  "by weight": "What each version gets of the pool when all want more than there is.",
};

function term(word, shown) {
  return make("button", shown || word, {class: "term", type: "button", "data-word": word, title: WORDS[word]});
}

function say(button) {
  const tip = $("tip"), box = button.getBoundingClientRect();
  tip.textContent = WORDS[button.dataset.word];
  tip.hidden = false;
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = Math.max(8, left) + window.scrollX + "px";
  tip.style.top = box.bottom + window.scrollY + 6 + "px";
}

document.addEventListener("click", event => {
  const button = event.target.closest(".term");
  if (button) say(button); else $("tip").hidden = true;
});
document.addEventListener("keydown", event => { if (event.key === "Escape") $("tip").hidden = true; });
