// Keeps the page up to date: asks the server again when its answer says so, draws what has changed.
const DATA = "nnunet_dashboard_data";
const WHILE_STOPPING_S = 2;
const STOPPING = "Stopping…";
const AFTER_TYPING_MS = 300;
const NOT_ALLOWED = "This host lets no page ask the server.";
const FIRST_RESULT_WITHIN_MS = 1000;
const SHOWN = "runs shown"; // for whoever measures the page
const PLACES = { runs: "Runs", datasets: "Datasets", machine: "This machine" };
const NO_LOG = { open: false, stage: "", pattern: "", answer: null, error: "" };
const state = {
  place: "runs", found: null, look: { log: false, classes: false, smooth: "0" },
  filters: { search: "", dataset_id: "", status: "" },
  lines: [], most: 0, names: {}, runId: null, stage: null, data: null, text: "", error: "", form: null, asking: null,
  busy: null, updated: null, picture: null, log: NO_LOG,
};
const drawn = new Map();
let timer = 0;
let typing = 0;
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

// A tool's result; its fields for most.
async function called(name, args) {
  const result = await host.call(name, args);
  if (result.isError) throw new Error(textOf(result) || `${name} failed.`);
  return result;
}

async function callTool(name, args) {
  return (await called(name, args)).structuredContent;
}

function textOf(result) {
  return result.content?.map((part) => part.text ?? "").join(" ") ?? "";
}

// every: all runs that are in the list; else only the newest, which take the place of what was known of them.
async function load(every = false) {
  clearTimeout(timer);
  if (!mayAsk) return draw();
  const question = ++asked;
  let again = host.triesAgainAfterS;
  try {
    const filters = Object.fromEntries(Object.entries(state.filters).filter(([, value]) => value.trim()));
    if (filters.dataset_id) filters.dataset_id = Number(filters.dataset_id);
    const limit = Math.max(host.firstRuns, every ? state.most : 0);
    const run = state.runId ? { run_id: state.runId } : {};
    const data = await callTool(DATA, { ...run, ...filters, limit, classes: state.look.classes });
    if (question !== asked) return; // another run was selected meanwhile
    take(data, limit);
    again = state.busy ? WHILE_STOPPING_S : data.retry_after_s || host.looksAgainAfterS;
  } catch (error) {
    if (question !== asked) return;
    fail(error);
  }
  draw();
  if (state.data && !performance.getEntriesByName(SHOWN).length) performance.mark(SHOWN);
  if (state.log.open && !state.error) readLog();
  if (again > 0 && !document.hidden) timer = setTimeout(() => load(), again * 1000);
}

function fail(error) {
  Object.assign(state, { error: error.message, form: error.form ?? null });
}

function take(data, limit) {
  const now = data.run?.progress;
  const runId = data.run?.facts.run_id ?? null;
  const fresh = new Set(data.runs.map((run) => run.run_id));
  const older = limit < state.most ? state.lines.filter((run) => !fresh.has(run.run_id)) : [];
  const lines = [...data.runs, ...older].slice(0, data.total);
  for (const run of lines) state.names[parseInt(run.run_id.slice(1), 10)] = run.dataset.replace(/^Dataset\d+_/, "");
  Object.assign(state, { data, lines, error: "", form: null, updated: new Date(), runId });
  if (state.busy === STOPPING && !data.run?.can_cancel) state.busy = null;
  state.asking = stillAsked(state.asking, data.run);
  say(now ? `${data.run.facts.dataset}: ${now.status}${now.stage ? `, ${words(now.stage)}` : ""}` : "No runs");
}

// Spoken by screen readers, once per change.
function say(text) {
  if (text === lastSaid) return;
  lastSaid = text;
  document.getElementById("live").textContent = text;
}

function select(runId) {
  const fresh = { stage: null, asking: null, busy: null, picture: null, log: { ...NO_LOG, open: state.log.open } };
  Object.assign(state, { runId, place: "runs", ...fresh });
  draw();
  load();
}

function narrow(change) {
  Object.assign(state.filters, change);
  state.most = 0;
  clearTimeout(typing);
  typing = setTimeout(() => load(), AFTER_TYPING_MS);
}

function more() {
  state.most = state.lines.length + MORE;
  load(true);
}

function showStage(stage) {
  state.stage = stage;
  draw();
}

function changeLook(change) {
  Object.assign(state.look, change);
  draw();
  if (change.classes) load();
}

function tellModel(text) {
  if (tellsModel) host.request("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => {});
}

function draw() {
  put("error", [state.error], errorPart);
  put("places", [state.place], placeButtons);
  document.body.dataset.place = state.place;
  if (!mayAsk) return put("run", [state.text], () => make("pre", {}, state.text || NOT_ALLOWED));
  if (!state.data) return state.error && put("run", [], () => null);
  const { data, runId, filters, lines, names, look, place } = state;
  put("filters", [data.datasets, names], () => filterFields({ datasets: data.datasets, names, filters }, narrow));
  const filtered = Object.values(filters).some(Boolean);
  const listed = { lines, total: data.total, filtered };
  put("runs", [listed, runId], () => runList(listed, runId, { select, more }));
  const width = Math.max(260, Math.floor(document.getElementById("run").clientWidth));
  const shown = [data.run, state.stage, state.asking, state.busy, runId, width, look, place, state.found];
  put("run", shown, () => (place === "runs" ? runParts(data.run, width) : placeParts()));
  put("picture", [state.picture], () => picturePart(state.picture, closePicture));
  const log = place === "runs" && data.run?.facts.run_id === runId && data.run;
  put("log", [state.log, log && log.stages], () => log && logPart(log, state.log, changeLog));
  put("foot", [state.updated], footer);
}

// Draw a part again only where something has changed.
function put(id, about, build) {
  const text = JSON.stringify(about);
  if (drawn.get(id) === text) return;
  drawn.set(id, text);
  refill(document.getElementById(id), [build()].flat());
}

function placeButtons() {
  const button = ([place, text]) => {
    const about = { type: "button", "data-key": `place ${place}`, "aria-current": place === state.place && "page" };
    return make("button", { ...about, onclick: () => go(place) }, text);
  };
  return Object.entries(PLACES).map(button);
}

function placeParts() {
  const { found, place } = state;
  if (!found) return make("p", { class: "quiet" }, "Loading…");
  if (place === "machine") return machinePlace(found);
  const { name, dataset_id } = found.look ?? {};
  const draws = () => showPicture(`Cases of ${name}`, { kind: "dataset", dataset_id });
  const looking = found.looking && make("p", { class: "quiet" }, `Looking into the images of ${found.looking}…`);
  return [...datasetsPlace(found, lookInto), looking, found.look && datasetLook(found.look, draws)];
}

function runParts(run, width) {
  if (!run) return make("p", { class: "quiet" }, "Here you see a run as soon as there is one.");
  if (run.facts.run_id !== state.runId) return make("p", { class: "quiet" }, "Loading…");
  const stage = shownStage(run);
  return [
    heading(run, !state.asking && actionButtons(run, state.busy, ask)),
    state.asking && question(state.asking, run, { stop, goOn, move, keep: () => ask(null) }),
    progressPart(run),
    stageList(run, stage, showStage),
    failurePart(run),
    healthPart(run),
    figures(run),
    curvesPart(run, stage, width, state.look, changeLook),
    scoresPart(run, showCase),
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
  const retry = make("button", { type: "button", "data-key": "retry", onclick: () => load() }, "Try again");
  const another = { type: "button", "data-key": "newest", onclick: () => select(null) };
  const newest = state.runId && !state.data && make("button", another, "Show the newest run");
  const buttons = state.form ? state.form(load) : make("p", { class: "buttons" }, retry, newest);
  return make("div", { class: "failure", role: "alert" }, make("p", {}, state.error), buttons);
}

function footer() {
  const every = state.data.retry_after_s;
  const when = `Updated ${state.updated.toLocaleTimeString()}` + (every ? `, again in ${duration(every)}. ` : ". ");
  const refresh = make("button", { type: "button", "data-key": "refresh", onclick: () => load(true) }, "Refresh");
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
if (host.asksFirst) load();
else setTimeout(() => asked === 0 && load(), FIRST_RESULT_WITHIN_MS);
