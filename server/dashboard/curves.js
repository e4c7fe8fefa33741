// The curves of a stage, and how a person wants them: as they are or smoothed, linear or logarithmic, for each class.
const CLASS_TONES = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
const SMOOTHINGS = [["0", "none"], ["0.6", "some"], ["0.9", "much"]];

function curvesPart({ curves }, stage, width, look, change) {
  const shown = curves.find((curve) => curve.stage === stage);
  if (!shown) return null;
  const losses = [
    { name: "train loss", tone: "one", dash: "", values: shown.train_loss },
    { name: "validation loss", tone: "two", dash: "6 4", values: shown.val_loss },
  ];
  const scores = [
    { name: PSEUDO_DICE, tone: "three", dash: "", thin: true, values: shown.pseudo_dice },
    { name: "its moving average", tone: "three", dash: "", values: shown.ema_pseudo_dice },
  ];
  const thinned = shown.every > 1 && make("span", { class: "quiet" }, `one epoch in ${shown.every}`);
  const same = { x: shown.epoch, width };
  return make(
    "section",
    { class: "curves", "aria-label": "Curves" },
    make("h3", {}, `Curves of ${words(stage)} `, thinned),
    lookFields(look, change),
    chart({ title: "Loss", ...same, curves: smoothed(losses, look.smooth), log: look.log }),
    chart({ title: "Pseudo Dice (estimate on patches)", ...same, curves: scores, ...UNIT }),
    look.classes && classChart(shown, same, look.smooth),
  );
}

const UNIT = { floor: 0, ceiling: 1 };

function lookFields(look, change) {
  const tick = (key, text) => {
    const id = `look-${key}`;
    const about = { type: "checkbox", id, "data-key": id, checked: look[key] };
    const box = make("input", { ...about, onchange: ({ target }) => change({ [key]: target.checked }) });
    return make("label", { for: id }, box, ` ${text}`);
  };
  const smooth = choice("Smoothing", "smooth", SMOOTHINGS, look.smooth, (value) => change({ smooth: value }));
  return make("div", { class: "looks" }, tick("log", "Logarithmic loss"), tick("classes", "Each class"), smooth);
}

function classChart(shown, same, smooth) {
  const found = Object.entries(shown.classes).filter(([, values]) => values.some((value) => value !== null));
  if (!found.length) return make("p", { class: "quiet" }, "The pseudo Dice of each class is not known for this stage.");
  const curves = found.map(([name, values], i) => ({ name, tone: CLASS_TONES[i], dash: DASHES[i], values }));
  return chart({ title: "Pseudo Dice of each class", ...same, curves: smoothed(curves, smooth), ...UNIT });
}

const DASHES = ["", "6 4", "2 3", "8 3 2 3", "12 4", "4 2", "1 4", "10 2 2 2 2 2"];

// What is smoothed stays visible as a thin line, and only what was measured is in the table of numbers.
function smoothed(curves, weight) {
  if (weight === "0") return curves;
  const average = (curve) => {
    return { ...curve, name: `${curve.name}, smoothed`, derived: true, values: averages(curve.values, +weight) };
  };
  return [...curves.map((curve) => ({ ...curve, thin: true })), ...curves.map(average)];
}

// The exponential moving average, corrected for its beginning as Adam does; a gap stays a gap.
function averages(values, weight) {
  let sum = 0;
  let known = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    known += 1;
    return sum / (1 - weight ** known);
  });
}
