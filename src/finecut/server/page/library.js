// The library sheet: what is indexed, bringing it up to date, what could not be read.

import * as api from "./api.js";
import { button, byId, debounced, el, toast } from "./dom.js";
import { bytes, clock, codecName, count, pixels, span } from "./format.js";
import { number, t } from "./text.js";
import { thumb, tilesOf } from "./thumb.js";

const PAGE = 60;
const POLL_MS = 1000;

export class Library {
  #timer = 0;
  #offset = 0;
  #name = "";
  #failed = false;

  /** hooks: open(video), updated() when an index job has changed something. */
  constructor(hooks) {
    this.hooks = hooks;
    this.dialog = byId("library");
    this.figures = el("dl", { className: "figures" });
    this.print = el("p", { className: "small-print" });
    this.job = el("div", { className: "job", hidden: true, "aria-live": "polite" });
    this.start = el("button", { type: "button", className: "plain", onclick: () => this.#start() }, t("Look for new videos"));
    this.list = el("div", { id: "library-list" });
    this.more = el("button", { type: "button", className: "plain", hidden: true, onclick: () => this.#page() }, t("Show more"));
    const find = el("input", { type: "search", placeholder: t("Find by name"), "aria-label": t("Find a video by name") });
    find.addEventListener("input", debounced(() => {
      this.#name = find.value;
      this.#fresh();
    }, 200));
    const only = el("input", { type: "checkbox" });
    only.addEventListener("change", () => {
      this.#failed = only.checked;
      this.#fresh();
    });
    this.dialog.replaceChildren(
      el("header", { className: "sheet-head" },
        el("h2", { id: "library-title" }, t("Library")), button("close", t("Close"), () => this.dialog.close(), { key: "Esc" })),
      el("div", { className: "sheet-body" },
        this.figures, this.print, this.job,
        el("div", { className: "list-head" }, el("h3", {}, t("Videos")), el("label", {}, only, t("unreadable only")), find, this.start),
        this.list, el("div", { className: "more" }, this.more)));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
  }

  async open() {
    if (!this.dialog.open) this.dialog.showModal();
    await this.refresh();
    await this.#fresh();
  }

  /** Figures and job, and whether to go on asking. */
  async refresh() {
    clearTimeout(this.#timer);
    try {
      const info = await api.indexInfo();
      this.#showInfo(info);
      const { jobs } = await api.jobs();
      this.#showJob(jobs[0]);
      byId("job-dot").hidden = !info.job;
      if (info.job) this.#timer = setTimeout(() => this.refresh(), POLL_MS);
      return info;
    } catch (error) {
      this.print.textContent = error.message;
      const { jobs } = await api.jobs().catch(() => ({ jobs: [] }));
      this.#showJob(jobs[0]);
      if (jobs[0] && !jobs[0].finished_at) this.#timer = setTimeout(() => this.refresh(), POLL_MS);
      return null;
    }
  }

  #showInfo(info) {
    const figure = (value, name) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
    this.figures.replaceChildren(
      figure(number(info.n_videos), info.n_videos === 1 ? t("video") : t("videos")),
      figure(span(info.video_s), t("of material")),
      figure(number(info.n_clips), info.n_clips === 1 ? t("clip") : t("clips")),
      info.n_failed ? figure(number(info.n_failed), t("unreadable")) : "");
    this.print.textContent = t("Searched with {bundle} ({method}). Folders: {folders}. Index: {path}.",
      { ...info, folders: info.roots.join(", ") || t("none yet") });
  }

  #showJob(job) {
    this.job.hidden = !job;
    if (!job) return;
    const running = job.finished_at === null;
    this.start.disabled = running;
    if (!running && this.jobId === job.id && this.wasRunning) {
      toast(job.state === "done" ? t("The library is up to date.") : jobText(job));
      this.hooks.updated();
      if (this.dialog.open) this.#fresh();
    }
    [this.jobId, this.wasRunning] = [job.id, running];
    const bar = el("progress", { max: Math.max(1, job.total_files), "aria-label": t("Indexing") });
    if (job.total_files) bar.value = job.done_files;
    const eta = job.eta_s ? t(", about {time} left", { time: span(job.eta_s) }) : "";
    const pace = job.x_realtime ? ` · ${t("{rate}× real time", { rate: job.x_realtime.toFixed(1) })}${eta}` : "";
    this.job.replaceChildren(
      el("div", { className: "row" },
        el("p", {}, jobText(job)),
        running ? el("button", { type: "button", className: "plain", disabled: job.state === "cancelling", onclick: () => this.#cancel(job.id) }, t("Stop")) : ""),
      running ? bar : "",
      el("p", { className: "meta" }, running
        ? `${t("{done} of {files}", { done: job.done_files, files: count(job.total_files, "file") })}${pace}${job.current ? ` · ${job.current.split(/[\\/]/).at(-1)}` : ""}`
        : job.error ?? reportText(job.report)));
  }

  async #start() {
    try {
      const job = await api.startJob();
      [this.jobId, this.wasRunning] = [job.id, true];
      this.#showJob(job);
      this.#timer = setTimeout(() => this.refresh(), 300);
    } catch (error) {
      toast(error.message);
    }
  }

  async #cancel(id) {
    try {
      this.#showJob(await api.cancelJob(id));
    } catch (error) {
      toast(error.message);
    }
  }

  async #fresh() {
    this.#offset = 0;
    await this.#page();
  }

  async #page() {
    const first = this.#offset === 0;
    const asked = this.#name;
    try {
      const { videos, total } = await api.videos({
        name: this.#name, offset: this.#offset, limit: PAGE, status: this.#failed ? "failed" : "",
      });
      if (asked !== this.#name) return;
      if (first) this.list.replaceChildren();
      this.list.append(...videos.map((video) => this.#row(video)));
      if (!total) this.list.append(el("p", { className: "small-print" }, this.#failed ? t("Every file could be read.") : t("No video has that name.")));
      this.#offset += videos.length;
      this.more.hidden = this.#offset >= total;
    } catch (error) {
      this.list.replaceChildren(el("p", { className: "small-print" }, error.message));
    }
  }

  #row(video) {
    const picture = thumb(video.cover ? tilesOf([video.cover]) : [], { width: video.width, height: video.height, stamp: "" });
    if (video.status === "failed") {
      return el("div", { className: "video-row" }, picture,
        el("span", {},
          el("span", { className: "name", title: video.paths[0] }, video.name),
          el("span", { className: "why" }, ` ${video.reason}`),
          el("p", { className: "meta", title: video.error }, video.error)),
        el("span", { className: "time" }, bytes(video.size_bytes)));
    }
    return el("button", { type: "button", className: "video-row", onclick: () => this.hooks.open(video) }, picture,
      el("span", {},
        el("span", { className: "name", title: video.paths[0] }, video.name),
        el("p", { className: "meta" },
          [pixels(video), codecName(video.codec), bytes(video.size_bytes), video.present ? "" : t("file is missing")].filter(Boolean).join(" · "))),
      el("span", { className: "time" }, clock(video.duration_s)));
  }
}

function jobText(job) {
  return {
    running: t("Indexing"),
    cancelling: t("Stopping after the video in hand"),
    done: t("Up to date"),
    cancelled: t("Stopped; what was done is kept"),
    failed: t("Indexing failed"),
  }[job.state];
}

function reportText(report) {
  if (!report) return "";
  const parts = [
    [report.n_new, "{n} new"], [report.n_changed, "{n} changed"], [report.n_moved, "{n} moved"],
    [report.n_removed, "{n} removed"], [report.n_unchanged, "{n} unchanged"], [report.n_failed, "{n} unreadable"],
  ].filter(([n]) => n).map(([n, words]) => t(words, { n: number(n) }));
  return parts.join(", ") || t("There was nothing to do.");
}
