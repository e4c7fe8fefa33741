// Elements from data. Every text is set as text: names of runs come from outside.
const SVG = "http://www.w3.org/2000/svg";

function make(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

function makeSvg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Put new children in; the focus, what is unfolded, ticked or being typed, and how far lists are scrolled stay.
function refill(parent, ...children) {
  const before = new Map(keyed(parent).map((element) => [element.dataset.key, stateOf(element)]));
  parent.replaceChildren(...children.flat().filter(Boolean));
  for (const element of keyed(parent)) {
    const known = before.get(element.dataset.key);
    // What grows at its end is followed, until somebody scrolls back.
    const follows = element.dataset.follow && (!known || known.atEnd);
    if (follows) element.scrollTop = element.scrollHeight;
    if (!known) continue;
    if (known.open) element.open = true;
    if (known.checked) element.checked = true;
    if (known.scrolled && !follows) element.scrollTop = known.scrolled;
    if (known.focused) element.focus({ preventScroll: true });
    if (known.caret !== undefined) {
      element.value = known.value;
      if (known.focused) element.setSelectionRange(known.caret, known.caret);
    }
  }
}

function stateOf(element) {
  const { open, checked, value, scrollTop: scrolled } = element;
  const caret = ["text", "search"].includes(element.type) ? element.selectionStart : undefined;
  const atEnd = scrolled + element.clientHeight >= element.scrollHeight - 4;
  return { open, checked, value, caret, scrolled, atEnd, focused: element === document.activeElement };
}

function keyed(parent) {
  return [...parent.querySelectorAll("[data-key]")];
}

function choice(label, key, options, chosen, change) {
  const items = options.map(([value, text]) => make("option", { value, selected: value === chosen }, text));
  const select = make("select", { id: key, "data-key": key, onchange: ({ target }) => change(target.value) }, items);
  return make("label", { class: "field", for: key }, make("span", {}, label), select);
}

function searchField(label, key, value, change) {
  const about = { type: "search", id: key, "data-key": key, value };
  const plain = { autocomplete: "off", spellcheck: "false", maxlength: 200 };
  const input = make("input", { ...about, ...plain, oninput: ({ target }) => change(target.value) });
  return make("label", { class: "field", for: key }, make("span", {}, label), input);
}

function table(caption, heads, rows, foot) {
  const cells = (row, first) => row.map((text, i) => make(i ? "td" : first, i ? {} : { scope: "row" }, text));
  return make(
    "table",
    {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, cells(row, "th")))),
    foot && make("tfoot", {}, make("tr", {}, cells(foot, "th"))),
  );
}
