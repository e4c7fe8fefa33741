// The list of all runs, and what narrows it. A line is built again only when its run has changed.
const STATUSES = ["running", "queued", "success", "error", "cancelled", "interrupted"];
const MORE = 200;
const built = new Map();

function filterFields({ datasets, names, filters }, change) {
  const named = (id) => `${String(id).padStart(3, "0")} ${names[id] ?? ""}`.trim();
  const all = [["", "all"]];
  return make(
    "form",
    { class: "filters", role: "search", "aria-label": "Filter the runs", onsubmit: (event) => event.preventDefault() },
    searchField("Search", "search", filters.search, (search) => change({ search })),
    choice("Dataset", "dataset", [...all, ...datasets.map((id) => [String(id), named(id)])], filters.dataset_id,
      (dataset_id) => change({ dataset_id })),
    choice("Status", "status", [...all, ...STATUSES.map((word) => [word, word])], filters.status,
      (status) => change({ status })),
  );
}

function runList({ lines, total, filtered }, selected, { select, more }) {
  const none = filtered ? "No run matches." : "No runs yet. Ask for a training in the chat.";
  const count = total > lines.length ? `newest ${lines.length} of ${total}` : String(total);
  const head = make("h2", {}, "Runs ", make("span", { class: "quiet" }, count));
  if (!lines.length) return [head, make("p", { class: "quiet" }, none)];
  const stop = lines.some((run) => run.run_id === selected) ? selected : lines[0].run_id;
  const items = lines.map((run) => runItem(run, run.run_id === selected, run.run_id === stop, select));
  const list = make("ul", { class: "runs", "data-key": "runs", onkeydown: moveFocus }, items);
  const left = Math.min(MORE, total - lines.length);
  const button = left > 0 && make("button", { type: "button", "data-key": "more", onclick: more }, `Show ${left} more`);
  return [head, list, button];
}

function runItem(run, current, stop, select) {
  const text = JSON.stringify([run, current, stop]);
  const known = built.get(run.run_id);
  if (known?.text === text) return known.item;
  const item = make("li", {}, runButton(run, current, stop, select));
  built.set(run.run_id, { text, item });
  return item;
}

function runButton(run, current, stop, select) {
  const score = typeof run.dice === "number" && `Dice ${number(run.dice)}`;
  const facts = [run.configuration, foldName(run.fold ?? run.kind), score, run.external && "started by hand"].filter(Boolean);
  const right = ACTIVE.includes(run.status) && run.epoch ? `epoch ${run.epoch}` : moment(run.started);
  const about = { type: "button", "data-key": `run ${run.run_id}`, title: `${run.dataset}, ${run.run_id}` };
  // A training that was started by hand has no records here to look at.
  const act = run.external ? { "aria-disabled": "true" } : { onclick: () => select(run.run_id) };
  return make(
    "button",
    { ...about, ...act, "aria-current": current && "true", tabindex: stop ? null : "-1" },
    make("strong", {}, briefly(run.dataset)),
    make("span", { class: "quiet" }, facts.join(" · ")),
    run.note && make("span", { class: "quiet note" }, run.note),
    make("span", { class: "last" }, status(run.status), make("span", { class: "quiet" }, right)),
  );
}

// The arrow keys move among the runs; Tab stops once in a list that may have a thousand.
function moveFocus(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const now = buttons.indexOf(document.activeElement);
  const next = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  buttons[next]?.focus();
}
