// Keys that work anywhere on the page, arrows between results, and the sheet that lists them all.

import { button, byId, el } from "./dom.js";
import { t } from "./text.js";

const KEYS = [
  [t("Searching"), [
    [["/"], t("to the search box")],
    [["←", "→", "↑", "↓"], t("from result to result")],
    [["Enter"], t("play")],
    [["f"], t("filters")],
    [["?"], t("this list")],
    [["Esc"], t("close")],
  ]],
  [t("Playing"), [
    [["Space"], t("play or pause")],
    [["←", "→"], t("two seconds back or on")],
    [[",", "."], t("frame by frame")],
    [["n", "p"], t("next or previous result")],
    [["h"], t("why it matched")],
    [["l"], t("loop the moment")],
    [["m"], t("more like this")],
    [["c"], t("copy a link")],
    [["s"], t("save the clip")],
  ]],
];

export function installKeys({ box }) {
  const help = byId("help");
  help.replaceChildren(
    el("header", { className: "sheet-head" }, el("h2", { id: "help-title" }, t("Keys")), button("close", t("Close"), () => help.close())),
    el("div", { className: "sheet-body" },
      el("dl", { className: "keys" }, KEYS.flatMap(([head, rows]) => [
        el("h3", {}, head),
        ...rows.flatMap(([keys, text]) => [el("dt", {}, keys.map((key) => el("kbd", {}, key))), el("dd", {}, text)]),
      ]))));
  byId("help-open").addEventListener("click", () => help.showModal());
  help.addEventListener("click", (event) => event.target === help && help.close());

  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input, textarea, select");
    const dialog = document.querySelector("dialog[open]");
    if (event.key === "?" && !typing) {
      event.preventDefault();
      if (help.open) help.close();
      else help.showModal();
    } else if (dialog) {
      return;
    } else if (event.key === "/" && !typing) {
      event.preventDefault();
      box.focus();
    } else if (event.key === "f" && !typing) {
      event.preventDefault();
      box.panelOpen = !box.panelOpen;
    } else if (event.key === "Escape") {
      if (box.panelOpen) {
        box.panelOpen = false;
        byId("filters-toggle").focus();
      } else if (typing) typing.blur();
    } else if (event.key.startsWith("Arrow") && (!typing || (typing.id === "query" && event.key === "ArrowDown"))) {
      if (moveFocus(event.key)) event.preventDefault();
    }
  });
}

/** Focus the result that lies next in a direction. Whether there is one. */
function moveFocus(key) {
  const moments = [...document.querySelectorAll("#results .moment")];
  if (!moments.length) return false;
  const here = moments.indexOf(document.activeElement);
  let next;
  if (here < 0) next = moments[0];
  else if (key === "ArrowRight") next = moments[here + 1];
  else if (key === "ArrowLeft") next = moments[here - 1];
  else next = nearest(moments, moments[here], key === "ArrowDown" ? 1 : -1);
  if (!next) {
    if (key !== "ArrowUp") return here >= 0;
    byId("query").focus();
    return true;
  }
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function nearest(moments, from, direction) {
  const middle = (node) => {
    const { left, top, width, height } = node.getBoundingClientRect();
    return { x: left + width / 2, y: top + height / 2 };
  };
  const start = middle(from);
  let best = null;
  let least = Infinity;
  for (const moment of moments) {
    const { x, y } = middle(moment);
    const down = (y - start.y) * direction;
    if (down < 8) continue;
    const cost = down + 2 * Math.abs(x - start.x);
    if (cost < least) [best, least] = [moment, cost];
  }
  return best;
}
