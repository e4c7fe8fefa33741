// Keeps the page up to date: asks the server again when its answer says so, draws what has changed.
const DATA = "nnunet_dashboard_data";
const AFTER_ERROR_S = 15;
const WHILE_STOPPING_S = 2;
const NOT_ALLOWED = "This host lets no page ask the server.";
const FIRST_RESULT_WITHIN_MS = 1000;
const state = {
  runId: null, stage: null, data: null, text: "", error: "", confirming: false, stopping: null, updated: null,
};
const drawn = new Map();
let timer = 0;
let asked = 0;
let lastSaid = "";
let mayAsk = true;
let tellsModel = false;

const host = connectTo({
  "ui/notifications/tool-input": ({ arguments: given }) => given?.run_id && (state.runId = given.run_id),
  "ui/notifications/tool-result": (result) => {
    state.runId = result.structuredContent?.run_id ?? state.runId;
    state.text = result.content?.find((part) => part.type === "text")?.text ?? "";
    load();
  },
  "ui/notifications/host-context-changed": dress,
  "ui/resource-teardown": () => clearTimeout(timer),
});

async function load() {
  clearTimeout(timer);
  if (!mayAsk) return draw();
  const question = ++asked;
  let again = AFTER_ERROR_S;
  try {
    const data = await host.callTool(DATA, state.runId ? { run_id: state.runId } : {});
    if (question !== asked) return; // another run was selected meanwhile
    take(data);
    again = state.stopping ? WHILE_STOPPING_S : data.retry_after_s;
  } catch (error) {
    if (question !== asked) return;
    state.error = error.message;
  }
  draw();
  if (again > 0 && !document.hidden) timer = setTimeout(load, again * 1000);
}

function take(data) {
  const now = data.run?.progress;
  Object.assign(state, { data, error: "", updated: new Date(), runId: data.run?.facts.run_id ?? null });
  if (!now || !ACTIVE.includes(now.status)) Object.assign(state, { confirming: false, stopping: null });
  say(now ? `${data.run.facts.dataset}: ${now.status}${now.stage ? `, ${words(now.stage)}` : ""}` : "No runs");
}

// Spoken by screen readers, once per change.
function say(text) {
  if (text === lastSaid) return;
  lastSaid = text;
  document.getElementById("live").textContent = text;
}

function select(runId) {
  Object.assign(state, { runId, stage: null, confirming: false, stopping: null });
  draw();
  load();
}

function showStage(stage) {
  state.stage = stage;
  draw();
}

function ask(confirming) {
  state.confirming = confirming;
  draw();
  document.querySelector(`[data-key=${confirming ? "keep" : "cancel"}]`)?.focus();
}

async function stop(force) {
  state.stopping = state.runId;
  ask(false);
  try {
    const answer = await host.callTool("nnunet_cancel", { run_id: state.runId, force });
    say(answer.detail);
    tellModel(`The person asked in the dashboard to stop run ${answer.run_id}.`);
  } catch (error) {
    state.stopping = null;
    state.error = error.message;
    return draw();
  }
  load();
}

function tellModel(text) {
  if (tellsModel) host.request("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => {});
}

function draw() {
  put("error", [state.error], errorPart);
  if (!mayAsk) return put("run", [state.text], () => make("pre", {}, state.text || NOT_ALLOWED));
  if (!state.data) return state.error && put("run", [], () => null);
  const { data, runId, confirming, stopping } = state;
  put("runs", [data.runs, data.total, runId], () => runList(data, runId, select));
  const width = Math.max(260, Math.floor(document.getElementById("run").clientWidth));
  put("run", [data.run, state.stage, confirming, stopping, runId, width], () => runParts(data.run, width));
  put("foot", [state.updated], footer);
}

// Draw a part again only where something has changed.
function put(id, about, build) {
  const text = JSON.stringify(about);
  if (drawn.get(id) === text) return;
  drawn.set(id, text);
  refill(document.getElementById(id), build());
}

function runParts(run, width) {
  if (!run) return make("p", { class: "quiet" }, "Here you see a run as soon as there is one.");
  if (run.facts.run_id !== state.runId) return make("p", { class: "quiet" }, "Loading…");
  const stage = shownStage(run);
  const action = run.can_cancel && !state.confirming && cancelButton(state.stopping, () => ask(true));
  return [
    heading(run, action),
    state.confirming && run.can_cancel && confirmation(run.facts, { stop, keep: () => ask(false) }),
    progressPart(run),
    stageList(run, stage, showStage),
    failurePart(run),
    healthPart(run),
    figures(run),
    curvesPart(run, stage, width),
    scoresPart(run),
    notesPart(run),
  ];
}

// The stage that somebody chose, else the one at work, else the last that has curves.
function shownStage({ curves, progress }) {
  const names = curves.map((curve) => curve.stage);
  return [state.stage, progress.stage].find((name) => names.includes(name)) ?? names.at(-1);
}

function errorPart() {
  if (!state.error) return null;
  const retry = make("button", { type: "button", "data-key": "retry", onclick: load }, "Try again");
  const another = { type: "button", "data-key": "newest", onclick: () => select(null) };
  const newest = state.runId && !state.data && make("button", another, "Show the newest run");
  const buttons = make("p", { class: "buttons" }, retry, newest);
  return make("div", { class: "failure", role: "alert" }, make("p", {}, state.error), buttons);
}

function footer() {
  const every = state.data.retry_after_s;
  const when = `Updated ${state.updated.toLocaleTimeString()}` + (every ? `, again in ${duration(every)}. ` : ". ");
  const refresh = make("button", { type: "button", "data-key": "refresh", onclick: load }, "Refresh");
  return [make("span", { class: "quiet" }, when), refresh];
}

// The host's theme and colours; without them the system's theme.
function dress({ theme, styles }) {
  const root = document.documentElement;
  if (theme) root.dataset.theme = theme;
  for (const [name, value] of Object.entries(styles?.variables ?? {})) {
    if (name.startsWith("--") && value) root.style.setProperty(name, value);
  }
}

const { hostCapabilities, hostContext } = await host.start({ name: "nnunet-dashboard", version: "1" });
mayAsk = Boolean(hostCapabilities?.serverTools);
tellsModel = Boolean(hostCapabilities?.updateModelContext);
dress(hostContext ?? {});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : load()));
new ResizeObserver(draw).observe(document.getElementById("run"));
// The host sends the tool's result next; a host that does not still gets a page.
setTimeout(() => asked === 0 && load(), FIRST_RESULT_WITHIN_MS);
