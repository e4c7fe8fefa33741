// Numbers, times and words as people read them.
const UNKNOWN = "–";
const ACTIVE = ["queued", "running"];
const SIGNS = { queued: "○", running: "►", success: "✓", error: "✕", cancelled: "■", interrupted: "◐" };
const BAD = ["stalled", "overfitting", "class_missing", "collapsed", "diverging", "nan", "poor"];
const HEALTH_TONES = { ok: "good", starting: "good", ...Object.fromEntries(BAD.map((verdict) => [verdict, "bad"])) };
const PSEUDO_DICE = "pseudo Dice";

function number(value, digits = 3) {
  return typeof value === "number" ? value.toFixed(digits).replace("-", "−") : UNKNOWN;
}

function compact(value) {
  if (typeof value !== "number") return UNKNOWN;
  const size = Math.abs(value);
  const text = value !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(0) : String(+value.toPrecision(3));
  return text.replace("-", "−");
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.round(seconds / 86400)} days`;
}

function moment(iso) {
  const time = new Date(iso);
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return time.toLocaleString(undefined, { day: "numeric", month: "short", ...clock });
}

// "004 Hippocampus": in a list the number tells more than the word Dataset.
function briefly(dataset) {
  return dataset.replace(/^Dataset(\d+)_/, "$1 ");
}

function foldName(fold) {
  return { all: "all folds", full: "every case" }[fold] ?? (/^\d+$/.test(fold) ? `fold ${fold}` : fold);
}

function words(name) {
  return name.replaceAll("_", " ");
}

function status(word) {
  const sign = make("span", { "aria-hidden": "true" }, SIGNS[word] ?? "");
  return make("span", { class: `status ${word}` }, sign, " ", word);
}
