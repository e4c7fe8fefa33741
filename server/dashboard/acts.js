// What the page asks of the server when somebody presses a button: to stop, resume or move, a log, a picture, a place.
function ask(wanted) {
  const keys = wanted ? ["keep"] : [state.asking, "cancel", "resume", "action"];
  state.asking = wanted;
  draw();
  keys.map((key) => document.querySelector(`[data-key=${key}]`)).find(Boolean)?.focus();
}

function stop(force) {
  const said = (answer) => `The person asked in the dashboard to stop run ${answer.run_id}.`;
  return act(STOPPING, "nnunet_cancel", { run_id: state.runId, force }, (answer) => [answer.detail, said(answer)]);
}

function goOn({ arguments: args }) {
  return act("Resuming…", "nnunet_training", args, (answer) => {
    select(answer.run_id);
    const said = `Run ${answer.run_id} goes on with ${args.like}`;
    return [`${said}.`, `${said}, as the person asked in the dashboard.`];
  });
}

function move(action) {
  return act("Moving…", "nnunet_queue", { run_id: state.runId, action }, (answer) => {
    state.busy = null;
    return [answer.detail, `The person asked in the dashboard: ${action} run ${answer.run_id}. ${answer.detail}`];
  });
}

async function act(busy, tool, args, told) {
  state.busy = busy;
  ask(null);
  try {
    const [spoken, forModel] = told(await callTool(tool, args));
    say(spoken);
    tellModel(forModel);
  } catch (error) {
    state.busy = null;
    fail(error);
    return draw();
  }
  load();
}

function changeLog(change) {
  const searches = change.pattern !== undefined;
  state.log = { ...state.log, ...change };
  clearTimeout(typing);
  typing = setTimeout(readLog, searches ? AFTER_TYPING_MS : 0);
  if (!searches) draw();
}

async function readLog() {
  const { open, stage, pattern } = state.log;
  const run_id = state.runId;
  if (!open || !run_id) return;
  const mode = pattern ? { mode: "grep", pattern } : { mode: "tail" };
  let found;
  try {
    const answer = await callTool("nnunet_logs", { run_id, lines: LOG_LINES, ...mode, ...(stage && { stage }) });
    found = { answer, error: "" };
  } catch (error) {
    found = { error: error.message };
  }
  const same = run_id === state.runId && stage === state.log.stage && pattern === state.log.pattern;
  if (same) state.log = { ...state.log, ...found };
  draw();
}

async function showPicture(title, args) {
  const picture = { title };
  state.picture = picture;
  draw();
  const systems = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const theme = document.documentElement.dataset.theme ?? systems;
  try {
    const result = await called("nnunet_plot", { ...args, theme, large: true });
    const image = result.content.find((part) => part.type === "image");
    Object.assign(picture, { source: `data:${image.mimeType};base64,${image.data}`, text: textOf(result).trim() });
  } catch (error) {
    picture.error = error.message;
  }
  draw();
}

function showCase(name) {
  showPicture(`Case ${name}`, { kind: "overlay", run_id: state.runId, case: name });
}

function closePicture() {
  state.picture = null;
  draw();
}

async function go(place) {
  Object.assign(state, { place, found: null, picture: null });
  draw();
  if (place === "runs") return;
  try {
    const found = await callTool(place === "machine" ? "nnunet_system" : "nnunet_datasets", {});
    if (state.place === place) state.found = found;
  } catch (error) {
    fail(error);
  }
  draw();
}

async function lookInto(dataset) {
  state.picture = null;
  state.found = { ...state.found, looking: dataset.name, look: null };
  draw();
  try {
    const { datasets: [look] } = await callTool("nnunet_datasets", { dataset_id: dataset.dataset_id });
    if (state.place === "datasets") state.found = { ...state.found, looking: null, look };
  } catch (error) {
    fail(error);
  }
  draw();
}
