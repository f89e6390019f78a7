// The relevance strip: a video's time line, every frame that was looked at as high as it matches.

import { el } from "./dom.js";
import { clock } from "./format.js";
import { t } from "./text.js";

/** Frames of results as [{from, to, relevance}]; where results overlap, the higher one counts. */
export function framesOf(results) {
  const frames = new Map();
  for (const { evidence, strips, end_s } of results) {
    if (!evidence) continue;
    const ends = strips.map((strip) => strip.end_s);
    evidence.times.forEach((from, i) => {
      const clipEnd = Math.min(...ends.filter((end) => end > from), Infinity);
      const next = evidence.times[i + 1] ?? (Number.isFinite(clipEnd) ? clipEnd : Math.max(end_s, from));
      const to = Math.min(next, clipEnd);
      const relevance = evidence.frame_relevance[i];
      const known = frames.get(from);
      if (!known || known.relevance < relevance) frames.set(from, { from, to, relevance });
    });
  }
  return [...frames.values()].sort((a, b) => a.from - b.from);
}

/** A time line. `interactive` makes it a slider for the keyboard, too. */
export class Timeline {
  constructor({ onseek, interactive = false }) {
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.head = el("span", { className: "head", hidden: true });
    this.tip = el("span", { className: "tip time", "aria-hidden": "true" });
    this.node = el("div", { className: "timeline" }, this.canvas, this.head, this.tip);
    this.duration = 0;
    this.frames = [];
    this.moments = [];
    this.now = null;
    this.onseek = onseek;
    if (interactive) this.#slider();
    else this.node.setAttribute("aria-hidden", "true");
    this.#pointer();
    new ResizeObserver(() => this.draw()).observe(this.node);
    addEventListener("finecut-theme", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** What is shown: seconds, frames from framesOf, moments with start_s and end_s. */
  set({ duration, frames, moments }) {
    this.duration = duration || Math.max(1, ...frames.map((f) => f.to), ...moments.map((m) => m.end_s));
    this.frames = frames;
    this.moments = moments;
    this.draw();
    if (this.now !== null) this.at(this.now);
  }

  /** Move the playhead. */
  at(seconds) {
    this.now = seconds;
    const share = Math.min(1, Math.max(0, seconds / (this.duration || 1)));
    this.head.hidden = false;
    this.head.style.left = `${share * 100}%`;
    if (this.node.getAttribute("role") !== "slider") return;
    this.node.setAttribute("aria-valuemax", this.duration.toFixed(1));
    this.node.setAttribute("aria-valuenow", seconds.toFixed(1));
    const frame = this.frameAt(seconds);
    const place = { now: clock(seconds), length: clock(this.duration) };
    this.node.setAttribute("aria-valuetext", frame
      ? t("{now} of {length}, matches {percent} percent", { ...place, percent: Math.round(frame.relevance * 100) })
      : t("{now} of {length}", place));
  }

  frameAt(seconds) {
    return this.frames.find(({ from, to }) => seconds >= from && seconds < to) ?? null;
  }

  draw() {
    const { width, height } = this.node.getBoundingClientRect();
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    const x = (seconds) => (seconds / this.duration) * this.canvas.width;
    // light-dark() is resolved in `color`, not in the custom property itself.
    const accent = getComputedStyle(this.canvas).color;
    pen.fillStyle = accent;
    for (const { start_s, end_s } of this.moments) {
      pen.globalAlpha = 0.15;
      const left = x(start_s);
      pen.fillRect(left, 0, Math.max(3 * scale, x(end_s) - left), this.canvas.height);
    }
    for (const { from, to, relevance } of this.frames) {
      pen.globalAlpha = 0.3 + 0.7 * relevance;
      const tall = Math.max(scale, relevance * (this.canvas.height - 2 * scale));
      const left = x(from);
      const wide = Math.max(1.5 * scale, x(to) - left - (x(to) - left > 4 * scale ? scale : 0));
      pen.fillRect(left, this.canvas.height - tall, wide, tall);
    }
    pen.globalAlpha = 1;
  }

  #seconds(event) {
    const { left, width } = this.node.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - left) / width)) * this.duration;
  }

  #pointer() {
    this.node.addEventListener("pointermove", (event) => {
      const seconds = this.#seconds(event);
      this.tip.textContent = clock(seconds, this.duration < 600);
      this.tip.style.left = `${(seconds / this.duration) * 100}%`;
      if (event.buttons && this.node.hasPointerCapture(event.pointerId)) this.onseek(seconds, true);
    });
    this.node.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.stopPropagation();
      this.node.setPointerCapture(event.pointerId);
      this.onseek(this.#seconds(event), true);
    });
    this.node.addEventListener("click", (event) => event.stopPropagation());
  }

  #slider() {
    this.node.setAttribute("role", "slider");
    this.node.setAttribute("tabindex", "0");
    this.node.setAttribute("aria-label", t("Time line, with how well each frame matches"));
    this.node.setAttribute("aria-valuemin", "0");
    this.node.addEventListener("keydown", (event) => {
      const now = this.now ?? 0;
      const step = event.shiftKey ? 10 : 1;
      const starts = this.moments.map((m) => m.start_s).sort((a, b) => a - b);
      const to = {
        ArrowRight: now + step,
        ArrowUp: now + step,
        ArrowLeft: now - step,
        ArrowDown: now - step,
        Home: 0,
        End: this.duration - 0.05,
        PageDown: starts.find((start) => start > now + 0.05) ?? now,
        PageUp: starts.findLast((start) => start < now - 0.5) ?? now,
      }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      this.onseek(Math.min(this.duration, Math.max(0, to)), false);
    });
  }
}
