// Curves as SVG: a gap where a number is missing, a dash per curve so that colour is not needed.
const HEIGHT = 168;
const EDGE = { left: 46, right: 10, top: 8, bottom: 24 };
const DASHES = ["", "6 4", "2 3"];

// curves: [{ name, tone, dash, thin, values }]; x: epochs.
function chart({ title, x, curves, width, floor, ceiling }) {
  const numbers = curves.flatMap((curve) => curve.values).filter((value) => value !== null);
  if (!numbers.length) return make("p", { class: "quiet" }, `No ${title} yet.`);
  const ticks = niceTicks(Math.min(floor ?? Infinity, ...numbers), Math.max(...numbers), ceiling);
  const across = scale(x[0], Math.max(x[0] + 1, x.at(-1)), EDGE.left, width - EDGE.right);
  const up = scale(ticks[0], ticks.at(-1), HEIGHT - EDGE.bottom, EDGE.top);
  const names = curves.map((curve) => curve.name).join(" and ");
  const svg = makeSvg(
    "svg",
    { role: "img", "aria-label": `${title}. ${spoken(x, curves)}`, viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT },
    grid(ticks, up, width),
    epochs(x, across),
    curves.map((curve) => line(curve, x, across, up)),
    makeSvg("line", { class: "guide", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" }),
  );
  const readout = make("p", { class: "readout", "aria-hidden": "true" }, latest(x, curves));
  follow(svg, readout, { x, curves, across, width });
  return make("figure", {}, make("figcaption", {}, title), legend(curves), svg, readout, numbersTable(title, names, x, curves));
}

function scale(from, to, start, end) {
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

// About four round numbers that enclose the data.
function niceTicks(low, high, ceiling = Infinity) {
  const span = high - low || Math.abs(high) || 1;
  const raw = span / 3;
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
  return [...new Set(shown)].map((tick) =>
    makeSvg(
      "text",
      { class: "tick", "aria-hidden": "true", x: across(tick), y: HEIGHT - 7, "text-anchor": tick === x.at(-1) && x.length > 1 ? "end" : "middle" },
      tick === x.at(-1) ? `epoch ${tick}` : String(tick),
    ),
  );
}

function line(curve, x, across, up) {
  let path = "";
  curve.values.forEach((value, i) => {
    if (value === null) return;
    const begins = i === 0 || curve.values[i - 1] === null;
    // A point alone between gaps is a line of no length: its round cap is a dot.
    path += `${begins ? "M" : "L"}${across(x[i]).toFixed(1)} ${up(value).toFixed(1)}${begins ? "h0" : ""}`;
  });
  const dash = DASHES[curve.dash] || null;
  return makeSvg("path", { class: `curve ${curve.tone}${curve.thin ? " thin" : ""}`, d: path, "stroke-dasharray": dash });
}

function legend(curves) {
  return make(
    "ul",
    { class: "legend", "aria-hidden": "true" },
    curves.map((curve) => {
      const sample = makeSvg("path", { class: `curve ${curve.tone}${curve.thin ? " thin" : ""}`, d: "M1 5H21", "stroke-dasharray": DASHES[curve.dash] || null });
      return make("li", {}, makeSvg("svg", { width: 22, height: 10 }, sample), curve.name);
    }),
  );
}

function at(i, x, curves) {
  return `epoch ${x[i]}: ${curves.map((curve) => `${curve.name} ${number(curve.values[i])}`).join(", ")}`;
}

function latest(x, curves) {
  return at(x.length - 1, x, curves);
}

function spoken(x, curves) {
  return `From ${at(0, x, curves)}, to ${latest(x, curves)}.`;
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
  const scrolled = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title} in numbers`, "data-key": `numbers-of-${title}` });
  const fold = make("details", { "data-key": `numbers-${title}` }, make("summary", {}, `${names} in numbers`), scrolled);
  fold.addEventListener("toggle", () => fold.open && scrolled.replaceChildren(table(title, heads, rows)));
  return fold;
}
