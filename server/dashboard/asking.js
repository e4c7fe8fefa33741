// What the page asks before it changes something: to stop a run, to go on with one, or to change its place in the queue.
const IN_QUEUE = {
  front: ["Go first…", "Let $ go first?", "It starts before all other runs that wait here.", "Let it go first"],
  hold: ["Hold…", "Hold $?", "It does not start until somebody releases it.", "Hold the run"],
  release: ["Release…", "Release $?", "It starts as soon as its place is free.", "Release the run"],
};

function actionButtons({ can_cancel, queue, resume }, busy, ask) {
  const button = (key, text, more = {}) => make("button", { type: "button", "data-key": key, ...more }, text);
  if (busy) return button("action", busy, { "aria-disabled": "true" });
  const places = queue.map((action) => button(action, IN_QUEUE[action][0], { onclick: () => ask(action) }));
  const stop = can_cancel && button("cancel", "Cancel run…", { class: "danger", onclick: () => ask("stop") });
  const again = resume && button("resume", "Resume run…", { onclick: () => ask("resume") });
  return make("p", { class: "buttons" }, places, stop, again);
}

// The question that was asked, or none: a run that ends meanwhile must not make another of it under the pointer.
function stillAsked(wanted, run) {
  const may = run && { stop: run.can_cancel, resume: run.resume };
  return may && (may[wanted] || run.queue.includes(wanted)) ? wanted : null;
}

function question(wanted, { facts, resume }, { stop, goOn, move, keep }) {
  if (wanted === "stop") return stopQuestion(facts.run_id, stop, keep);
  if (wanted in IN_QUEUE) return placeQuestion(wanted, facts.run_id, move, keep);
  const meaning = `It becomes a new run, which takes a GPU or the CPU until it ends. ${sentence(resume.meaning)}`;
  const yes = make("button", { type: "button", "data-key": "go on", onclick: () => goOn(resume) }, "Resume the run");
  return dialog(`Resume ${facts.run_id}?`, meaning, null, [yes, keepButton("Leave it stopped", keep)], keep);
}

function stopQuestion(run_id, stop, keep) {
  const force = make("input", { type: "checkbox", id: "force", "data-key": "force" });
  const label = make("p", {}, make("label", { for: "force" }, force, " End it at once, without saving"));
  const about = { type: "button", class: "danger", "data-key": "stop", onclick: () => stop(force.checked) };
  const meaning = "A training finishes its epoch and saves a checkpoint first, so that it can be resumed.";
  const buttons = [make("button", about, "Stop the run"), keepButton("Keep it running", keep)];
  return dialog(`Stop ${run_id}?`, meaning, label, buttons, keep);
}

function placeQuestion(action, run_id, move, keep) {
  const [, title, meaning, text] = IN_QUEUE[action];
  const yes = make("button", { type: "button", "data-key": "move", onclick: () => move(action) }, text);
  return dialog(title.replace("$", run_id), meaning, null, [yes, keepButton("Leave it as it is", keep)], keep);
}

function keepButton(text, keep) {
  return make("button", { type: "button", "data-key": "keep", onclick: keep }, text);
}

function dialog(title, meaning, more, buttons, leave) {
  const about = { class: "confirm", role: "alertdialog", "aria-labelledby": "sure", "aria-describedby": "meaning" };
  return make(
    "section",
    { ...about, onkeydown: (event) => event.key === "Escape" && leave() },
    make("h3", { id: "sure" }, title),
    make("p", { id: "meaning" }, meaning),
    more,
    make("p", { class: "buttons" }, buttons),
  );
}

function sentence(text) {
  return text && !/[.!?]$/.test(text) ? `${text}.` : text;
}
