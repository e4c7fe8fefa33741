// The parts of a run's page, each drawn from the data and nothing else.
function heading({ facts, progress }, action) {
  const request = [facts.configuration, foldName(facts.fold), facts.trainer, facts.device];
  const name = make("h2", { class: "name" }, facts.dataset, " ", status(progress.status));
  const id = make("p", { class: "quiet id" }, facts.run_id);
  return make("header", {}, make("div", {}, name, make("p", {}, request.join(" · ")), id), action);
}

function progressPart({ progress }) {
  const active = ACTIVE.includes(progress.status);
  const epoch = progress.epoch !== null && `epoch ${progress.epoch}${progress.epochs ? ` of ${progress.epochs}` : ""}`;
  const facts = [
    progress.stage && words(progress.stage),
    epoch,
    progress.phase,
    active && progress.epoch_s !== null && `${number(progress.epoch_s, 1)} s per epoch`,
    progress.eta_s !== null && `about ${duration(progress.eta_s)} left`,
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
    const name = make("strong", {}, words(stage.name));
    const inside = [name, status(stage.status), took && make("span", { class: "quiet" }, took)];
    if (!drawn.has(stage.name)) return make("li", {}, make("span", { class: "stage" }, inside));
    const pressed = String(stage.name === shown);
    const about = { type: "button", class: "stage", title: "Show its curves", "aria-pressed": pressed };
    const act = { "data-key": `stage ${stage.name}`, onclick: () => show(stage.name) };
    return make("li", {}, make("button", { ...about, ...act }, inside));
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
  const figure = ([name, value, note]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, number(value), make("span", { class: "quiet" }, note)));
  return make("dl", { class: "figures" }, pairs.map(figure));
}

function healthPart({ progress }) {
  const { verdict, detail } = progress.health;
  if (progress.failure || (progress.status === "success" && verdict === "ok")) return null;
  // At rest the detail says why the run has ended, not how its numbers are.
  if (verdict === "ended") return make("p", { class: "health warn" }, detail);
  const title = progress.status === "queued" ? "Waiting" : `Health: ${verdict}`;
  return make("p", { class: `health ${HEALTH_TONES[verdict] ?? "warn"}` }, make("strong", {}, title), ` – ${detail}`);
}

function failurePart({ progress: { failure } }) {
  if (!failure) return null;
  const rows = [["Cause", failure.cause], ["Evidence", failure.evidence], ["What to do", failure.remedy]];
  const told = rows.filter(([, text]) => text).map(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);
  return make("section", { class: "failure", "aria-label": "Failure" }, make("dl", {}, told.flat()));
}

function scoresPart({ scores }, showCase) {
  const { metrics, classes, worst_cases: worst } = scores;
  const folds = scores.folds.some((fold) => fold.dice !== null) ? scores.folds : [];
  if (!folds.length && !classes.length) return null;
  const heads = ["Fold", "Dice", "IoU", "Validation loss", "Cases"];
  const row = (name, measured, cases) => [
    name, number(measured.dice), number(measured.iou), number(measured.validation_loss), String(cases || UNKNOWN),
  ];
  const rows = folds.map((fold) => row(fold.fold + (fold.reused ? " (earlier run)" : ""), fold, fold.cases));
  const all = folds.reduce((sum, fold) => sum + fold.cases, 0);
  const foot = folds.length > 1 && metrics.dice !== null && row("all cases", metrics, all);
  const labels = classes.map((found) => [found.label, number(found.dice), number(found.iou)]);
  const line = (found) => [found.case, number(found.dice), showButton(found.case, showCase)];
  // Of several folds those of each, as soon as it is measured; else those of the whole.
  const parted = folds.length > 1;
  const ofFolds = folds.flatMap((fold) => fold.worst_cases.map((found) => [fold.fold, ...line(found)]));
  const lowest = parted ? ofFolds : worst.map(line);
  const lowestHeads = [...(parted ? ["Fold"] : []), "Case", "Dice", "Picture"];
  if (scores.classes_left_out) labels.push([`and ${scores.classes_left_out} more`, "", ""]);
  return make(
    "section",
    { "aria-label": "Scores" },
    folds.length > 0 && table("Validation", heads, rows, foot),
    scores.dice_mean_sd &&
      make("p", { class: "below" }, `Dice of the folds, mean ± standard deviation: ${scores.dice_mean_sd}`),
    make(
      "div",
      { class: "pair" },
      labels.length > 0 && table("Classes", ["Class", "Dice", "IoU"], labels),
      lowest.length > 0 && table("Lowest Dice", lowestHeads, lowest),
    ),
    scores.model_path && make("p", { class: "quiet id" }, `Model: ${scores.model_path}`),
  );
}

function showButton(name, show) {
  const about = { type: "button", "data-key": `show ${name}`, "aria-label": `Show ${name}` };
  return make("button", { ...about, onclick: () => show(name) }, "Show");
}

function notesPart({ scores }) {
  if (!scores.notes.length) return null;
  const items = scores.notes.map((note) => make("li", {}, note));
  return make("section", { "aria-label": "Notes" }, make("ul", { class: "notes quiet" }, items));
}
