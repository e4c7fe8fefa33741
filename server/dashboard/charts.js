// Curves as SVG: a gap where a number is missing or has no logarithm, dashes so that colour is not needed.
const HEIGHT = 168;
const EDGE = { left: 46, right: 10, top: 8, bottom: 24 };

// curves: [{ name, tone, dash, thin, derived, values }]; x: epochs. Words and numbers tell only what was measured.
function chart({ title, x, curves, width, floor, ceiling, log }) {
  const known = curves.flatMap((curve) => curve.values).filter((value) => value !== null);
  if (!known.length) return make("p", { class: "quiet" }, `No ${title} yet.`);
  const across = scale(x[0], Math.max(x[0] + 1, x.at(-1)), EDGE.left, width - EDGE.right);
  const { ticks, up } = log ? logarithmic(known) : linear(known, floor, ceiling);
  const told = curves.filter(({ derived }) => !derived);
  const names = told.map((curve) => curve.name).join(" and ");
  const words = `${title}, from ${at(0, x, told)}, to ${latest(x, told)}.`;
  const svg = makeSvg(
    "svg",
    { role: "img", "aria-label": words, viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT },
    grid(ticks, up, width),
    epochs(x, across),
    curves.map((curve) => line(curve, x, across, up)),
    makeSvg("line", { class: "guide", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" }),
  );
  const readout = make("p", { class: "readout", "aria-hidden": "true" }, latest(x, told));
  follow(svg, readout, { x, curves: told, across, width });
  const numbers = numbersTable(title, names, x, told);
  return make("figure", {}, make("figcaption", {}, title), legend(curves), svg, readout, numbers);
}

function linear(known, floor = Infinity, ceiling = Infinity) {
  const ticks = niceTicks(Math.min(floor, ...known), Math.max(...known), ceiling);
  return { ticks, up: scale(ticks[0], ticks.at(-1), HEIGHT - EDGE.bottom, EDGE.top) };
}

// nnU-Net's usual loss is negative: its Dice part goes down to −1, its cross-entropy to 0. So the distance from −1 is
// drawn logarithmically; the numbers at the axis stay those of the loss.
function logarithmic(known) {
  const least = Math.min(...known) > 0 ? 0 : -1;
  const distances = known.map((value) => value - least).filter((distance) => distance > 0);
  if (!distances.length) return linear(known);
  const low = Math.log10(Math.min(...distances));
  const high = Math.max(low + 0.1, Math.log10(Math.max(...distances)));
  const inner = Math.floor(high) - Math.ceil(low) >= 1;
  const powers = [];
  for (let power = Math.ceil(low); power <= high; power += 1) powers.push(power);
  const shown = inner ? powers : [low, (low + high) / 2, high];
  const place = scale(low, high, HEIGHT - EDGE.bottom, EDGE.top);
  return {
    ticks: shown.map((power) => 10 ** power + least),
    up: (value) => (value > least ? place(Math.log10(value - least)) : null),
  };
}

function scale(from, to, start, end) {
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

// About four round numbers that enclose the data.
function niceTicks(low, high, ceiling = Infinity) {
  const span = high - low || Math.abs(high) || 1;
  const raw = span / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  const ticks = [];
  for (let i = first; i <= last; i += 1) ticks.push(Math.min(+(i * step).toPrecision(12), ceiling));
  return [...new Set(ticks)];
}

function grid(ticks, up, width) {
  return ticks.map((tick) =>
    makeSvg(
      "g",
      { class: "grid", "aria-hidden": "true" },
      makeSvg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: up(tick), y2: up(tick) }),
      makeSvg("text", { x: EDGE.left - 6, y: up(tick) + 4, "text-anchor": "end" }, compact(tick)),
    ),
  );
}

function epochs(x, across) {
  const inner = niceTicks(x[0], x.at(-1)).filter((tick) => Number.isInteger(tick) && tick > x[0] && tick < x.at(-1));
  const last = across(x.at(-1));
  const shown = [x[0], ...inner.filter((tick) => across(tick) - EDGE.left > 28 && last - across(tick) > 34), x.at(-1)];
  return [...new Set(shown)].map((tick) => {
    const ends = tick === x.at(-1);
    const place = { x: across(tick), y: HEIGHT - 7, "text-anchor": ends && x.length > 1 ? "end" : "middle" };
    return makeSvg("text", { class: "tick", "aria-hidden": "true", ...place }, ends ? `epoch ${tick}` : String(tick));
  });
}

function line(curve, x, across, up) {
  const hidden = (value) => value === null || up(value) === null;
  let path = "";
  curve.values.forEach((value, i) => {
    if (hidden(value)) return;
    const begins = i === 0 || hidden(curve.values[i - 1]);
    // A point alone between gaps is a line of no length: its round cap is a dot.
    path += `${begins ? "M" : "L"}${across(x[i]).toFixed(1)} ${up(value).toFixed(1)}${begins ? "h0" : ""}`;
  });
  return stroke(curve, path);
}

function stroke({ tone, thin, dash }, path) {
  const look = { class: `curve ${tone}${thin ? " thin" : ""}`, "stroke-dasharray": dash || null };
  return makeSvg("path", { ...look, d: path });
}

function legend(curves) {
  const sample = (curve) => makeSvg("svg", { width: 22, height: 10 }, stroke(curve, "M1 5H21"));
  const items = curves.map((curve) => make("li", {}, sample(curve), curve.name));
  return make("ul", { class: "legend", "aria-hidden": "true" }, items);
}

function at(i, x, curves) {
  return `epoch ${x[i]}: ${curves.map((curve) => `${curve.name} ${number(curve.values[i])}`).join(", ")}`;
}

function latest(x, curves) {
  return at(x.length - 1, x, curves);
}

// The epoch under the pointer, in numbers. Without a pointer the table below says the same.
function follow(svg, readout, { x, curves, across, width }) {
  const guide = svg.querySelector(".guide");
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const position = ((event.clientX - box.left) / box.width) * width;
    const distances = x.map((epoch) => Math.abs(across(epoch) - position));
    const nearest = distances.indexOf(Math.min(...distances));
    guide.setAttribute("visibility", "visible");
    guide.setAttribute("x1", across(x[nearest]));
    guide.setAttribute("x2", across(x[nearest]));
    readout.textContent = at(nearest, x, curves);
  });
  svg.addEventListener("pointerleave", () => {
    guide.setAttribute("visibility", "hidden");
    readout.textContent = latest(x, curves);
  });
}

function numbersTable(title, names, x, curves) {
  const rows = x.map((epoch, i) => [String(epoch), ...curves.map((curve) => number(curve.values[i], 4))]);
  const heads = ["Epoch", ...curves.map((curve) => curve.name)];
  const about = { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title} in numbers` };
  const scrolled = make("div", { ...about, "data-key": `table ${title}` });
  const summary = make("summary", { "data-key": `summary ${title}` }, `${names} in numbers`);
  const fill = ({ target }) => target.open && scrolled.replaceChildren(table(title, heads, rows));
  return make("details", { "data-key": `details ${title}`, ontoggle: fill }, summary, scrolled);
}
