// The player: a dialog that starts a video at the moment that was found.

import * as api from "./api.js";
import { byId, copy, el, toast } from "./dom.js";
import { factsOf } from "./facts.js";
import { clock, codecName, frameUrl } from "./format.js";
import { drawHeat } from "./heatmap.js";
import { playerParts } from "./player-parts.js";
import { matchLabel, momentKey } from "./results.js";
import { isAsking } from "./route.js";
import { t } from "./text.js";
import { thumb, tilesOf } from "./thumb.js";
import { Timeline, framesOf } from "./timeline.js";

const FRAME_SIDE = 1280; // pixels of the frames that stand in for a video

export class Player {
  #results = []; // of the search: previous and next go through these
  #moments = []; // of this video
  #frames = []; // of this video, as the time line shows them
  #ask = null;
  #result = null; // what is shown; a video without a search has neither scores nor evidence
  #frameTime = null; // set while frames stand in for a video the browser cannot play
  #loop = false;
  #renewed = false; // the session, for the video that is shown
  #turn = 0; // rises with every opening: answers that come too late are dropped

  /** hooks: like(result), changed(result or null), linkTo(result). */
  constructor(hooks) {
    this.hooks = hooks;
    this.dialog = byId("player");
    this.#build();
    this.dialog.addEventListener("close", () => this.#closed());
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
  }

  get isOpen() {
    return this.dialog.open;
  }

  get shown() {
    return this.#result;
  }

  /** Play a result; `play_s` in it starts elsewhere than its start. */
  open(result, ask, results = []) {
    this.#ask = ask;
    this.#results = results;
    this.#moments = results.filter((other) => other.video_id === result.video_id);
    if (!this.#moments.length && result.evidence) this.#moments = [result];
    this.#turn += 1;
    const sameVideo = this.isOpen && this.#result?.video_id === result.video_id;
    if (!sameVideo) {
      this.#frames = framesOf(this.#moments);
      this.#renewed = false;
    }
    this.#show(result, sameVideo);
    if (!this.isOpen) {
      this.dialog.showModal();
      this.video.focus({ preventScroll: true });
    }
    if (!sameVideo) this.#facts(result);
    if (isAsking(ask)) this.#wholeVideo(result);
  }

  close() {
    if (this.isOpen) this.dialog.close();
  }

  // -- what it is made of ----------------------------------------------------------------------

  #build() {
    this.timeline = new Timeline({ interactive: true, onseek: (seconds) => this.#seek(seconds) });
    Object.assign(this, playerParts(this.dialog, this.timeline, {
      why: () => this.#toggleHeat(),
      loop: () => this.#toggleLoop(),
      like: () => this.hooks.like(this.#here()),
      link: () => copy(this.hooks.linkTo(this.#here()), t("Link copied")),
      step: (by) => this.#step(by),
      close: () => this.close(),
    }));
    this.video.addEventListener("timeupdate", () => this.#tick());
    this.video.addEventListener("seeking", () => this.#tick());
    this.video.addEventListener("play", () => this.#hideHeat());
    this.video.addEventListener("error", () => this.#cannotPlay());
    this.video.addEventListener("loadedmetadata", () => {
      if (!this.video.videoWidth) this.#cannotPlay(); // the sound plays, the picture does not
      else if (!this.#result.duration_s) this.#draw();
    });
  }

  // -- showing one moment ----------------------------------------------------------------------

  #show(result, sameVideo) {
    this.#result = result;
    const start = result.play_s ?? result.start_s;
    this.title.textContent = result.name;
    this.where.textContent = result.video;
    this.where.title = result.video;
    this.match.replaceChildren(result.match ? matchLabel(result) : "");
    this.range.replaceChildren(
      result.match ? t("moment {start} – {end}", { start: clock(result.start_s, true), end: clock(result.end_s, true) }) : t("length {length}", { length: clock(result.duration_s) }));
    this.save.href = result.cut_url ?? "";
    this.save.hidden = !result.cut_url;
    this.loopButton.disabled = !result.match;
    this.why.disabled = !result.evidence?.patch_relevance;
    this.why.title = this.why.disabled
      ? t("No regions are stored for this frame")
      : t("Show where in the best frame the match is (h)");
    this.#hideHeat();
    this.#draw();
    this.#listMoments();
    if (sameVideo && this.#frameTime === null && this.video.readyState > 0) {
      this.video.currentTime = start;
      this.#play();
    } else if (sameVideo && this.#frameTime !== null) {
      this.#showFrame(start);
    } else {
      this.#load(result, start);
    }
    this.hooks.changed(result);
  }

  #load(result, start) {
    this.#frameTime = null;
    this.note.hidden = true;
    this.video.hidden = false;
    this.video.poster = frameUrl(result.video_id, start, 960);
    this.video.src = result.media_url;
    // Set at once, so that the first bytes asked for after the header are those of the moment.
    this.video.currentTime = start;
    this.timeline.at(start);
    this.now.textContent = clock(start, true);
    this.#play();
  }

  async #play() {
    const turn = this.#turn;
    try {
      await this.video.play();
    } catch (error) {
      // A link that was opened is no gesture: browsers then play only without sound.
      if (error.name !== "NotAllowedError" || turn !== this.#turn) return;
      this.video.muted = true;
      this.video.play().catch(() => {});
    }
  }

  #draw() {
    const duration = this.#result.duration_s || (Number.isFinite(this.video.duration) ? this.video.duration : 0);
    this.timeline.set({ duration, frames: this.#frames, moments: this.#moments });
  }

  /** Relevance over all of the video, and all its moments: one more search, in this video only. */
  async #wholeVideo(result) {
    const turn = this.#turn;
    try {
      const answer = await api.search(this.#ask, { video_id: result.video_id, k: 50, recall_k: 500 });
      if (turn !== this.#turn) return;
      // This search measures frames against this video alone, so that all of it can be compared;
      // its cuts may lie a little differently, so a moment that overlaps a known one is that one.
      this.#frames = framesOf(answer.results);
      const known = this.#moments;
      this.#moments = [...known, ...answer.results.filter((other) => !known.some((one) => overlap(one, other)))];
      this.#draw();
      this.#listMoments();
    } catch (error) {
      if (turn === this.#turn) toast(error.message);
    }
  }

  async #facts(result) {
    const turn = this.#turn;
    this.details.replaceChildren();
    const video = await api.video(result.video_id).catch(() => null); // the player says what is wrong
    if (video && turn === this.#turn) this.details.replaceChildren(...factsOf(video, result));
  }

  #listMoments() {
    const inTime = [...this.#moments].sort((a, b) => a.start_s - b.start_s);
    this.listHead.hidden = !inTime.length;
    const here = momentKey(this.#result);
    this.list.replaceChildren(...inTime.map((moment) => el("li", {},
      el("button", {
        type: "button", className: "pick", "aria-current": momentKey(moment) === here ? "true" : undefined,
        onclick: () => this.#show(moment, true),
      },
      thumb(tilesOf(moment.strips, moment.start_s, moment.end_s), { ...moment, stamp: "", scrub: false }),
      el("span", {},
        el("span", { className: "time" }, `${clock(moment.start_s)} – ${clock(moment.end_s)}`),
        matchLabel(moment))))));
    this.list.querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" });
  }

  #step(by) {
    const here = this.#results.findIndex((other) => momentKey(other) === momentKey(this.#result));
    const next = this.#results[here + by];
    if (next) this.open(next, this.#ask, this.#results);
    else toast(by > 0 ? t("That was the last result.") : t("This is the first result."));
  }

  // -- time ------------------------------------------------------------------------------------

  get #time() {
    return this.#frameTime ?? this.video.currentTime;
  }

  #here() {
    return { ...this.#result, at_s: this.#time };
  }

  #tick() {
    if (!this.#result || this.#frameTime !== null) return;
    const now = this.video.currentTime;
    if (this.#loop && this.#result.match && now >= this.#result.end_s && !this.video.seeking) {
      this.video.currentTime = this.#result.start_s;
    }
    this.timeline.at(now);
    this.now.textContent = clock(now, true);
  }

  #seek(seconds) {
    const to = Math.max(0, Math.min(seconds, this.timeline.duration));
    if (this.#frameTime !== null) {
      this.#showFrame(to);
      return;
    }
    this.#hideHeat();
    this.video.currentTime = to;
    this.timeline.at(to);
  }

  #toggleLoop() {
    this.#loop = !this.#loop;
    this.loopButton.setAttribute("aria-pressed", String(this.#loop));
  }

  // -- frames in place of a video --------------------------------------------------------------

  /** Say why there is no picture, and show single frames where they can be had. */
  async #cannotPlay() {
    if (!this.#result || this.#frameTime !== null || !this.video.getAttribute("src")) return;
    const [turn, time] = [this.#turn, this.#result.play_s ?? this.#result.start_s];
    this.video.pause();
    // A browser says the same of a file it may not have as of one it cannot decode: ask the server.
    const trouble = await api.trouble(this.#result.media_url);
    if (turn !== this.#turn || this.#frameTime !== null) return;
    if (!trouble && !this.#renewed) {
      this.#renewed = true; // the cookie may have ended, with its time or with the server
      if (await api.renewSession()) {
        this.#load(this.#result, time);
        return;
      }
    }
    this.video.hidden = true;
    this.#frameTime = time;
    this.note.textContent = trouble?.message ??
      t("This browser cannot play {codec} in this file. Its frames are shown instead: move along the time line.", { codec: codecName(this.#result.codec) });
    this.note.hidden = false;
    if (this.isOpen) this.timeline.node.focus({ preventScroll: true }); // a hidden video holds no keys
    if (!trouble) this.#showFrame(time);
  }

  #showFrame(time) {
    this.#frameTime = time;
    this.#hideHeat();
    this.timeline.at(time);
    this.now.textContent = clock(time, true);
    this.still.hidden = false;
    this.legend.hidden = true;
    this.heat.hidden = true;
    this.#setImage(frameUrl(this.#result.video_id, time, FRAME_SIDE), () => {});
  }

  #setImage(url, then) {
    this.image.onload = then;
    this.image.onerror = () => toast(t("This frame cannot be shown."));
    this.image.alt = t("Frame of {name}", { name: this.#result.name });
    this.image.src = url;
  }

  // -- why it matched --------------------------------------------------------------------------

  get #heatShown() {
    return this.why.getAttribute("aria-pressed") === "true";
  }

  #toggleHeat() {
    if (this.#heatShown) {
      this.#hideHeat();
      if (this.#frameTime !== null) this.#showFrame(this.#frameTime);
      return;
    }
    const { evidence, best_s: best } = this.#result;
    if (!evidence?.patch_relevance) return;
    this.video.pause();
    this.why.setAttribute("aria-pressed", "true");
    this.timeline.at(best);
    this.now.textContent = clock(best, true);
    if (this.#frameTime === null) this.video.currentTime = best;
    else this.#frameTime = best;
    this.still.hidden = false;
    this.legend.hidden = false;
    this.heat.hidden = false;
    this.#setImage(`${this.#result.frame_url}&max_side=${FRAME_SIDE}`, () => {
      drawHeat(this.heat, evidence.patch_relevance, evidence.patch_box, this.image.naturalWidth, this.image.naturalHeight);
      this.image.alt = t("The best frame of {name}, with the regions that match brought out", { name: this.#result.name });
    });
  }

  #hideHeat() {
    this.why.setAttribute("aria-pressed", "false");
    if (this.#frameTime === null) this.still.hidden = true;
  }

  // -- keys and closing ------------------------------------------------------------------------

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onVideo = event.target === this.video;
    const onButton = event.target.closest?.("button, a, [role=slider]");
    const work = {
      h: () => !this.why.disabled && this.#toggleHeat(),
      l: () => !this.loopButton.disabled && this.#toggleLoop(),
      m: () => this.hooks.like(this.#here()),
      s: () => !this.save.hidden && this.save.click(),
      c: () => copy(this.hooks.linkTo(this.#here()), t("Link copied")),
      n: () => this.#step(1),
      p: () => this.#step(-1),
      k: () => this.#pause(),
      f: () => this.video.requestFullscreen?.(),
      ",": () => this.#frameStep(-1),
      ".": () => this.#frameStep(1),
      ArrowLeft: () => this.#seek(this.#time - 2),
      ArrowRight: () => this.#seek(this.#time + 2),
      " ": () => (onButton && !onVideo ? false : this.#pause()),
    }[event.key];
    if (!work) return;
    if (work() === false) return;
    event.preventDefault();
    event.stopPropagation();
  }

  #pause() {
    if (this.#frameTime !== null) return;
    if (this.video.paused) this.#play();
    else this.video.pause();
  }

  /** To the next or previous frame that was looked at (or a tenth of a second). */
  #frameStep(by) {
    this.video.pause();
    const times = this.#frames.map((frame) => frame.from);
    const now = this.#time;
    const next = by > 0 ? times.find((t) => t > now + 0.02) : times.findLast((t) => t < now - 0.02);
    this.#seek(next ?? now + by * 0.1);
  }

  #closed() {
    this.#turn += 1;
    this.#frameTime = null;
    this.#result = null;
    this.still.hidden = true;
    this.note.hidden = true;
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.removeAttribute("poster");
    this.video.load(); // lets go of the connection
    this.hooks.changed(null);
  }
}

const overlap = (a, b) => a.start_s < b.end_s && b.start_s < a.end_s;
