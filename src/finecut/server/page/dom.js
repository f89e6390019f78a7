// Elements without a framework. Text always goes in as text: no string becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties (on… are listeners, data-/aria- and the like attributes). */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else if (name === "className") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** One of the icons of index.html. */
export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon and a label; `quiet` shows the label to screen readers only. */
export function button(name, label, onclick, { quiet = true, key = "", ...props } = {}) {
  const title = key ? `${label} (${key})` : label;
  const text = el("span", { className: quiet ? "visually-hidden" : "label" }, label);
  return el(
    "button",
    { type: "button", className: quiet ? "quiet" : "plain", title, onclick, ...props },
    icon(name),
    text,
  );
}

export const byId = (id) => document.getElementById(id);

/** The same function, called once after the last of many calls. */
export function debounced(work, wait_ms) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), wait_ms);
  };
}

let toastTimer = 0;

/** A short message that goes away. */
export function toast(text) {
  const node = byId("toast");
  // A modal dialog makes everything outside it inert, so the toast moves into the open one.
  const open = [...document.querySelectorAll("dialog[open]")].at(-1);
  (open ?? document.body).append(node);
  node.textContent = text;
  node.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    node.hidden = true;
  }, 3500);
}

/** Copy text; where the clipboard is refused (plain http on a network), by the old way. */
export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { className: "visually-hidden", readonly: true });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(done);
}
