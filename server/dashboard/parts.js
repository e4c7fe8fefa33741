// The parts of the page, each drawn from the data and nothing else.
function runList({ runs, total }, selected, select) {
  if (!runs.length) return [make("h2", {}, "Runs"), make("p", { class: "quiet" }, "No runs yet. Ask for a training in the chat.")];
  const count = total > runs.length ? `newest ${runs.length} of ${total}` : String(total);
  const items = runs.map((run) => make("li", {}, runButton(run, run.run_id === selected, select)));
  const list = make("ul", { class: "runs", "data-key": "runs", onkeydown: moveFocus }, items);
  return [make("h2", {}, "Runs ", make("span", { class: "quiet" }, count)), list];
}

function runButton(run, current, select) {
  const now = run.dice !== null ? `Dice ${number(run.dice)}` : run.epoch && `epoch ${run.epoch}`;
  const facts = [run.configuration, foldName(run.fold), now, run.external && "started by hand"].filter(Boolean);
  const about = { type: "button", "data-key": `run ${run.run_id}`, title: run.run_id, "aria-current": current && "true" };
  return make(
    "button",
    // A training that was started by hand has no records here to look at.
    run.external ? { ...about, "aria-disabled": "true" } : { ...about, onclick: () => select(run.run_id) },
    make("strong", {}, run.dataset),
    make("span", { class: "quiet" }, facts.join(" · ")),
    make("span", { class: "last" }, status(run.status), make("span", { class: "quiet" }, moment(run.started))),
  );
}

// The arrow keys move among the runs, as in any list; Tab does too.
function moveFocus(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  buttons[buttons.indexOf(document.activeElement) + step]?.focus();
}

function heading({ facts, progress }, action) {
  const words = [facts.configuration, foldName(facts.fold), facts.trainer, facts.device];
  return make(
    "header",
    {},
    make("div", {}, make("h2", { class: "name" }, facts.dataset, " ", status(progress.status)), make("p", {}, words.join(" · ")), make("p", { class: "quiet id" }, facts.run_id)),
    action,
  );
}

function cancelButton(stopping, ask) {
  if (stopping) return make("button", { type: "button", class: "danger", "data-key": "cancel", "aria-disabled": "true" }, "Stopping…");
  return make("button", { type: "button", class: "danger", "data-key": "cancel", onclick: ask }, "Cancel run…");
}

function confirmation({ run_id }, { stop, keep }) {
  const force = make("input", { type: "checkbox", id: "force", "data-key": "force" });
  const label = make("label", { for: "force" }, force, " End it at once, without saving");
  return make(
    "section",
    { class: "confirm", role: "alertdialog", "aria-labelledby": "sure", "aria-describedby": "meaning", onkeydown: (event) => event.key === "Escape" && keep() },
    make("h3", { id: "sure" }, "Stop this run?"),
    make("p", { id: "meaning" }, `${run_id} finishes its epoch and saves a checkpoint first, so that it can be resumed.`),
    make("p", {}, label),
    make(
      "p",
      { class: "buttons" },
      make("button", { type: "button", class: "danger", "data-key": "stop", onclick: () => stop(force.checked) }, "Stop the run"),
      make("button", { type: "button", "data-key": "keep", onclick: keep }, "Keep it running"),
    ),
  );
}

function progressPart({ progress }) {
  const active = ACTIVE.includes(progress.status);
  const epoch = progress.epoch !== null && `epoch ${progress.epoch}${progress.epochs ? ` of ${progress.epochs}` : ""}`;
  const facts = [
    progress.stage,
    epoch,
    progress.phase,
    active && progress.epoch_s !== null && `${number(progress.epoch_s, 1)} s per epoch`,
    progress.eta_s !== null && `about ${duration(progress.eta_s)} of training left`,
    `${duration(progress.elapsed_s)} ${active ? "so far" : "in all"}`,
  ];
  return make(
    "section",
    { "aria-label": "Progress" },
    make("progress", { max: 100, value: progress.percent, "aria-label": "Progress of the run" }),
    make("p", {}, make("strong", {}, `${number(progress.percent, 0)} %`), " · ", facts.filter(Boolean).join(" · ")),
  );
}

function stageList({ stages, curves }, shown, show) {
  const drawn = new Set(curves.map((curve) => curve.stage));
  const items = stages.map((stage) => {
    const took = stage.reused ? "from an earlier run" : stage.seconds !== null && duration(stage.seconds);
    const inside = [make("strong", {}, stage.name.replaceAll("_", " ")), status(stage.status), took && make("span", { class: "quiet" }, took)];
    if (!drawn.has(stage.name)) return make("li", {}, make("span", { class: "stage" }, inside));
    const pressed = String(stage.name === shown);
    const about = { type: "button", class: "stage", "aria-pressed": pressed, "data-key": `stage ${stage.name}` };
    return make("li", {}, make("button", { ...about, title: "Show its curves", onclick: () => show(stage.name) }, inside));
  });
  return make("section", { "aria-label": "Stages" }, make("ol", { class: "stages" }, items));
}

function figures({ progress, scores }) {
  const pairs = [
    ["Dice", scores.metrics.dice, "validation"],
    ["IoU", scores.metrics.iou, "validation"],
    ["Train loss", progress.train_loss, ""],
    ["Validation loss", progress.val_loss, "on patches"],
    ["Pseudo Dice", progress.pseudo_dice, "estimate on patches"],
  ].filter(([, value]) => value !== null);
  if (!pairs.length) return null;
  return make("dl", { class: "figures" }, pairs.map(([name, value, note]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, number(value), note && make("span", { class: "quiet" }, note)))));
}

function healthPart({ progress }) {
  const { verdict, detail } = progress.health;
  const calm = ["ok", "starting"].includes(verdict);
  if (progress.failure || (calm && !ACTIVE.includes(progress.status))) return null;
  const tone = BAD_HEALTH.includes(verdict) ? "bad" : calm ? "good" : "warn";
  return make("p", { class: `health ${tone}` }, make("strong", {}, `Health: ${verdict}`), ` – ${detail}`);
}

function failurePart({ progress: { failure } }) {
  if (!failure) return null;
  const rows = [["Cause", failure.cause], ["Evidence", failure.evidence], ["What to do", failure.remedy]];
  return make(
    "section",
    { class: "failure", "aria-label": "Failure" },
    make("dl", {}, rows.filter(([, text]) => text).map(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])),
  );
}

function curvesPart({ curves }, stage, width) {
  const shown = curves.find((curve) => curve.stage === stage);
  if (!shown) return null;
  const losses = [
    { name: "train loss", tone: "one", dash: 0, values: shown.train_loss },
    { name: "validation loss", tone: "two", dash: 1, values: shown.val_loss },
  ];
  const scores = [
    { name: PSEUDO_DICE, tone: "three", dash: 0, thin: true, values: shown.pseudo_dice },
    { name: "its moving average", tone: "three", dash: 0, values: shown.ema_pseudo_dice },
  ];
  return make(
    "section",
    { class: "curves", "aria-label": "Curves" },
    make("h3", {}, `Curves of ${stage.replaceAll("_", " ")} `, shown.every > 1 && make("span", { class: "quiet" }, `every ${shown.every}th epoch`)),
    chart({ title: "Loss", x: shown.epoch, curves: losses, width }),
    chart({ title: "Pseudo Dice (estimate on patches)", x: shown.epoch, curves: scores, width, floor: 0, ceiling: 1 }),
  );
}

function scoresPart({ scores }) {
  if (!scores.folds.some((fold) => fold.dice !== null)) return null;
  const { metrics, folds, classes, worst_cases: worst } = scores;
  const heads = ["Fold", "Dice", "IoU", "Validation loss", "Cases"];
  const rows = folds.map((f) => [f.fold + (f.reused ? " (earlier run)" : ""), number(f.dice), number(f.iou), number(f.validation_loss), String(f.cases || UNKNOWN)]);
  const cases = String(folds.reduce((sum, fold) => sum + fold.cases, 0));
  const foot = folds.length > 1 && metrics.dice !== null && ["all cases", number(metrics.dice), number(metrics.iou), number(metrics.validation_loss), cases];
  const more = scores.classes_left_out ? [[`and ${scores.classes_left_out} more`, "", ""]] : [];
  return make(
    "section",
    { "aria-label": "Result of the validation" },
    table("Validation", heads, rows, foot),
    scores.dice_mean_sd && make("p", {}, `Dice of the folds, mean ± standard deviation: ${scores.dice_mean_sd}`),
    make(
      "div",
      { class: "pair" },
      classes.length > 0 && table("Classes", ["Class", "Dice", "IoU"], [...classes.map((c) => [c.label, number(c.dice), number(c.iou)]), ...more]),
      worst.length > 0 && table("Cases with the lowest Dice", ["Case", "Dice"], worst.map((c) => [c.case, number(c.dice)])),
    ),
    scores.model_path && make("p", { class: "quiet id" }, `Model: ${scores.model_path}`),
  );
}

function notesPart({ scores }) {
  return scores.notes.length > 0 && make("section", { "aria-label": "Notes" }, make("ul", { class: "notes quiet" }, scores.notes.map((note) => make("li", {}, note))));
}
