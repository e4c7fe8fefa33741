// What a person looks at on request: a stage's log, pictures of cases, the datasets, the machine.
const LOG_LINES = 200;

function logPart(run, { open, stage, pattern, answer, error }, change) {
  const stages = run.stages.filter(({ status }) => status !== "queued").map(({ name }) => [name, words(name)]);
  if (!stages.length) return null;
  const toggled = ({ target }) => target.open !== open && change({ open: target.open });
  const about = { "data-key": "log", open, ontoggle: toggled };
  const summary = make("summary", { "data-key": "log summary" }, "Log");
  if (!open) return make("details", about, summary);
  const fields = make(
    "div",
    { class: "looks" },
    choice("Stage", "log-stage", [["", "the present one"], ...stages], stage, (chosen) => change({ stage: chosen })),
    searchField("Lines that match (a regular expression)", "log-pattern", pattern, (text) => change({ pattern: text })),
  );
  const found = error ? make("p", { class: "health bad" }, error) : answer && logLines(answer);
  return make("details", about, summary, fields, found);
}

function logLines({ stage, lines, first_line, total_lines }) {
  const of = total_lines === undefined ? "" : ` of ${total_lines}`;
  const count = lines.length === 1 ? "1 line" : `${lines.length} lines`;
  const told = lines.length ? `${count}${of} of ${words(stage)}, from line ${first_line}` : "No line matches.";
  const about = { class: "loglines", tabindex: "0", role: "region", "aria-label": "Lines of the log" };
  const text = make("pre", { ...about, "data-key": "lines", "data-follow": "end" }, lines.join("\n"));
  return make("div", {}, make("p", { class: "quiet" }, told), text);
}

function picturePart(picture, close) {
  if (!picture) return null;
  const { title, source, text, error } = picture;
  const shut = make("button", { type: "button", "data-key": "close picture", onclick: close }, "Close");
  const head = make("h3", {}, title, " ", shut);
  if (error) return make("section", { class: "shown" }, head, make("p", { class: "health bad" }, error));
  if (!source) return make("section", { class: "shown" }, head, make("p", { class: "quiet" }, "Drawing…"));
  const image = make("img", { src: source, alt: text });
  return make("section", { class: "shown", "aria-label": title }, head, image, make("p", { class: "quiet" }, text));
}

function datasetsPlace({ datasets, others = [] }, look) {
  if (!datasets.length) return [make("h2", {}, "Datasets"), make("p", { class: "quiet" }, "No datasets yet.")];
  const rows = datasets.map((found) => {
    const about = { type: "button", "data-key": `look ${found.dataset_id}`, onclick: () => look(found) };
    const name = briefly(found.name);
    const folds = (found.trained ?? []).map(({ configuration, folds }) => `${configuration} ${folds.join(",")}`);
    const told = [String(found.cases), found.channels.join(", "), found.labels.join(", "), folds.join("; ") || UNKNOWN];
    return [name, ...told, make("button", about, "Look")];
  });
  const heads = ["Dataset", "Cases", "Channels", "Labels", "Trained folds", "Images"];
  const rest = others.length > 0 && make("p", { class: "quiet" }, `and ${others.join(", ")}`);
  const about = { class: "wide", tabindex: "0", role: "region", "aria-label": "Table of the datasets" };
  return [make("h2", {}, "Datasets"), make("div", about, table("In nnU-Net's folders", heads, rows)), rest];
}

function datasetLook(found, draw) {
  const sizes = (lengths) => lengths.join(" × ");
  const of = (found) => found && `${sizes(found.median)} (${sizes(found.smallest)} to ${sizes(found.largest)})`;
  const facts = [
    ["Looked at", `${found.inspected} of ${found.cases} cases${found.partial ? "; the next look goes on" : ""}`],
    ["Shape, median and range", of(found.shapes)],
    ["Spacing in mm", of(found.spacings)],
    ["Split", found.split],
  ].filter(([, text]) => text);
  const said = [...(found.problems ?? []), ...(found.warnings ?? [])].map((text) => make("li", {}, text));
  const labels = Object.entries(found.label_statistics ?? {}).map(([name, { share, cases, volume }]) =>
    [name, String(cases), `${number(100 * share, 2)} %`, volume ?? UNKNOWN]);
  const odd = Object.entries(found.outliers ?? {});
  const act = { type: "button", "data-key": "draw dataset", onclick: draw };
  return make(
    "section",
    { class: "shown", "aria-label": `A look at ${found.name}` },
    make("h3", {}, `${found.name} `, make("button", act, "Show cases")),
    said.length > 0 && make("ul", { class: "notes" }, said),
    factList(facts),
    labels.length > 0 && table("Labels", ["Label", "Cases", "Share", "Volume"], labels),
    odd.length > 0 && table("Odd cases", ["Case", "In what"], odd),
  );
}

function machinePlace(found) {
  const { gpus, cpu_cores, memory_free_gb, memory_gb, slots, disk_free_gb, versions, problems = [] } = found;
  const facts = [
    ["GPUs", gpus.join(", ") || "none"],
    ["CPU cores", String(cpu_cores)],
    ["Memory", `${memory_free_gb} of ${memory_gb} GB free`],
  ];
  const held = slots.map(({ name, kind, holder }) => [name, kind, holder ?? "free"]);
  return [
    make("h2", {}, "This machine"),
    problems.length > 0 && make("ul", { class: "notes failure" }, problems.map((text) => make("li", {}, text))),
    factList(facts),
    table("Slots: one stage at a time each", ["Slot", "For", "Used by"], held),
    table("Disk", ["Folder", "Free"], Object.entries(disk_free_gb).map(([name, free]) => [name, `${free} GB`])),
    table("Versions", ["Of", "Version"], Object.entries(versions)),
  ];
}

function factList(facts) {
  return make("dl", { class: "facts" }, facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
}
