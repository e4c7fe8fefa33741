// What the page asks before it changes something: to stop a run, or to go on with one.
function actionButton({ can_cancel, resume }, busy, ask) {
  const about = { type: "button", "data-key": "action" };
  if (busy) return make("button", { ...about, "aria-disabled": "true" }, busy);
  const stop = { class: "danger", "data-key": "cancel", onclick: () => ask("stop") };
  if (can_cancel) return make("button", { ...about, ...stop }, "Cancel run…");
  return resume && make("button", { ...about, "data-key": "resume", onclick: () => ask("resume") }, "Resume run…");
}

// The question that was asked, or none: a run that ends meanwhile must not make another of it under the pointer.
function stillAsked(wanted, run) {
  return run && ((wanted === "stop" && run.can_cancel) || (wanted === "resume" && run.resume)) ? wanted : null;
}

function question(wanted, { facts, resume }, { stop, goOn, keep }) {
  if (wanted === "stop") return stopQuestion(facts.run_id, stop, keep);
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
