// What the player is made of: elements, without what they do.

import { button, el, icon, toast } from "./dom.js";
import { t } from "./text.js";

/** Fill the dialog; its parts by name. `work` says what the buttons do. */
export function playerParts(dialog, timeline, work) {
  const title = el("h2", { id: "player-title" });
  const where = el("p", { className: "meta" });
  const match = el("span", {});
  const video = el("video", { controls: true, playsinline: true, preload: "metadata", tabindex: "0" });
  const image = el("img", { alt: "" });
  const heat = el("canvas", { "aria-hidden": "true" });
  const legend = el("p", { className: "legend" }, t("less"), el("i", {}), t("more like what was asked"));
  const still = el("div", { className: "still", hidden: true }, image, heat, legend);
  const note = el("p", { className: "stage-note", role: "status", hidden: true });
  const now = el("span", { className: "now time" });
  const range = el("span", { className: "time" });
  const act = (name, label, key, onclick, props = {}) => button(name, label, onclick, { quiet: false, key, ...props });
  const why = act("heat", t("Why it matched"), "h", work.why, { "aria-pressed": "false" });
  const loopButton = act("loop", t("Loop moment"), "l", work.loop, { "aria-pressed": "false" });
  const save = el("a", {
    className: "plain", title: t("Save clip (s)"), download: "",
    onclick: () => toast(t("Cutting the clip. It goes to your downloads.")),
  }, icon("save"), el("span", { className: "label" }, t("Save clip")));
  const list = el("ol", { id: "player-moments" });
  const listHead = el("h3", {}, t("Moments in this video"));
  const details = el("dl", { className: "facts" });

  dialog.replaceChildren(
    el("header", { className: "player-head" },
      el("div", { className: "words" }, title, where),
      match,
      button("prev", t("Previous result"), () => work.step(-1), { key: "p" }),
      button("next", t("Next result"), () => work.step(1), { key: "n" }),
      button("close", t("Close"), work.close, { key: "Esc" })),
    el("div", { className: "player-grid" },
      el("div", {},
        el("div", { className: "stage" }, video, still, note),
        el("div", { className: "under" },
          timeline.node,
          el("div", { className: "ends" }, now, range),
          el("div", { className: "player-actions" },
            why, loopButton,
            act("like", t("More like this"), "m", work.like),
            el("span", { className: "gap" }),
            act("link", t("Copy link"), "c", work.link),
            save))),
      el("aside", { className: "side" },
        el("div", { className: "side-scroll" }, listHead, list, details))));
  return { title, where, match, video, image, heat, legend, still, note, now, range, why, loopButton, save, list, listHead, details };
}
