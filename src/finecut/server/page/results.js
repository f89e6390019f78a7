// Moments grouped by video, and what stands in their place when there are none.

import * as api from "./api.js";
import { byId, copy, el, icon, toast } from "./dom.js";
import { clock, codecName, count, folder, frameUrl, percent, pixels, span } from "./format.js";
import { reasons, steps, understood } from "./reasons.js";
import { t } from "./text.js";
import { thumb, tilesOf } from "./thumb.js";
import { Timeline, framesOf } from "./timeline.js";

const WORDS = { strong: t("Strong"), fair: t("Fair"), weak: t("Weak") };
const OTHERS = 4; // further moments of a video that are shown without asking

export const momentKey = (result) => `${result.video_id}@${result.start_s}`;

/** "Strong 93%": a shape and a word, so that colour is not needed to tell them apart. */
export function matchLabel({ match, confidence }) {
  return el(
    "span", { className: `match ${match}`, title: t("How likely this is what you asked for") },
    icon(match, ""), WORDS[match], el("span", { className: "time" }, percent(confidence)),
  );
}

/** Draw an answer. `open(result, results)` plays; `ask` is what was asked for. */
export function showResults(answer, ask, open, actions) {
  const groups = new Map();
  for (const result of answer.results) {
    if (!groups.has(result.video_id)) groups.set(result.video_id, []);
    groups.get(result.video_id).push(result);
  }
  const nodes = [...groups.values()].map((moments) => group(moments, ask, open, actions));
  const list = el("div", { className: answer.good_match ? "groups" : "groups guesses" }, nodes);
  const more = answer.results.length >= actions.k && actions.k < actions.maxK
    ? el("div", { className: "more" }, el("button", { type: "button", className: "plain", onclick: actions.more }, t("Show more")))
    : null;
  byId("results").replaceChildren(...[understood(answer), answer.good_match ? null : noGoodMatch(answer), list, more].filter(Boolean));
}

function noGoodMatch(answer) {
  const what = answer.kind === "text" ? t("“{query}”", answer) : answer.kind === "image" ? t("your image") : t("this moment");
  return el(
    "div", { className: "banner", id: "no-good-match" },
    el("div", {},
      el("h2", {}, t("No good match")),
      el("p", {}, t("Nothing in this library clearly shows {what}. These are the closest guesses.", { what }))),
  );
}

function group(moments, ask, open, actions) {
  const [lead, ...rest] = moments;
  const others = el("div", { className: "others" });
  const known = new Set(moments.map(momentKey));
  const all = [...moments];
  const timeline = new Timeline({
    onseek: (seconds) => open({ ...lead, play_s: seconds }, all),
  });
  const redraw = () =>
    timeline.set({ duration: lead.duration_s, frames: framesOf(all), moments: all });
  const addOther = (result) => others.append(momentButton(result, () => open(result, all), true));

  rest.slice(0, OTHERS).forEach(addOther);
  let hidden = rest.slice(OTHERS);
  const moreButton = el("button", {
    type: "button",
    onclick: async () => {
      moreButton.disabled = true;
      try {
        const answer = await api.search(ask, { video_id: lead.video_id, k: 24, recall_k: 500 });
        const found = answer.results.filter((result) => !known.has(momentKey(result)));
        for (const result of [...hidden, ...found]) addOther(result);
        for (const result of found) {
          known.add(momentKey(result));
          all.push(result);
        }
        if (!hidden.length && !found.length) toast(t("That was all of this video."));
        hidden = [];
        redraw();
        moreButton.remove();
      } catch (error) {
        moreButton.disabled = false;
        toast(error.message);
      }
    },
  }, hidden.length ? t("{n} more from this video", { n: hidden.length }) : t("More from this video"));

  const node = el(
    "article", { className: "group", "aria-label": lead.name },
    momentButton(lead, () => open(lead, all), false),
    timeline.node,
    el("div", { className: "caption" },
      el("div", { className: "words" },
        el("h2", { className: "name", title: lead.video }, lead.name),
        el("p", { className: "meta", title: lead.video },
          [span(lead.duration_s), pixels(lead), folder(lead.video).split(/[\\/]/).at(-1)].filter(Boolean).join(" · "))),
      matchLabel(lead)),
    steps(lead, (result) => open(result, all)),
    reasons(lead),
    others,
    el("div", { className: "group-actions" },
      moreButton,
      el("button", { type: "button", onclick: () => actions.like(lead) }, t("More like this"))),
  );
  redraw();
  if (!hidden.length && coversAll(lead.duration_s, all)) moreButton.remove();
  return node;
}

/** Whether the clips of these moments are the whole video: then it has no more to show. */
function coversAll(duration_s, moments) {
  const clips = new Map(moments.flatMap((moment) => moment.strips).map((strip) => [strip.start_s, strip]));
  let seen = 0;
  for (const { start_s, end_s } of clips.values()) seen += end_s - start_s;
  return duration_s > 0 && seen >= duration_s - 1;
}

/** A thumbnail one can press: Enter and click play it. */
export function momentButton(result, onclick, small) {
  const times = `${clock(result.start_s)} – ${clock(result.end_s)}`;
  const picture = thumb(tilesOf(result.strips, result.start_s, result.end_s), {
    width: result.width,
    height: result.height,
    best_s: result.best_s,
    stamp: small ? clock(result.start_s) : times,
    sharp: small ? "" : `${result.frame_url}&max_side=640`,
  });
  picture.append(el("span", { className: "playmark" }, icon("play")));
  const label = t("Play {name} from {start} to {end}. {word} match, {percent}.", {
    name: result.name, start: clock(result.start_s), end: clock(result.end_s),
    word: WORDS[result.match], percent: percent(result.confidence),
  });
  return el("button", {
    type: "button", className: "moment", "aria-label": label, onclick, "data-key": momentKey(result),
  }, picture);
}

/** Placeholders of the right size while a search runs for longer than a moment. */
export function showSkeletons(n = 8) {
  const one = () => el("div", { className: "skeleton" }, el("div", { className: "thumb" }), el("div", { className: "line" }));
  byId("results").replaceChildren(el("div", { className: "groups", "aria-hidden": "true" }, Array.from({ length: n }, one)));
}

/** A message in place of results. */
export function showNotice({ title, text, detail = null, command = "", bad = false, actions = [] }) {
  byId("results").replaceChildren(el(
    "section", { className: bad ? "notice bad" : "notice", role: bad ? "alert" : undefined },
    icon(bad ? "warn" : "library"),
    el("h2", {}, title),
    text ? el("p", {}, text) : null,
    detail,
    command ? el("div", { className: "command" },
      el("code", {}, command),
      el("button", { type: "button", className: "link", onclick: () => copy(command, t("Command copied")) }, t("Copy"))) : null,
    actions.length ? el("div", { className: "actions" }, actions) : null,
  ));
}

/** The start page's shelf: some videos of the library. */
export function shelf(list, info, open) {
  if (!list.length) return null;
  const cards = list.map((video) => {
    const picture = thumb(video.cover ? tilesOf([video.cover]) : [], {
      width: video.width, height: video.height, stamp: clock(video.duration_s),
      sharp: video.cover ? frameUrl(video.video_id, (video.cover.start_s + video.cover.end_s) / 2, 640) : "",
    });
    return el("div", { className: "group" },
      el("button", { type: "button", className: "moment", "aria-label": t("Open {name}", video), onclick: () => open(video) }, picture),
      el("div", { className: "caption" }, el("div", { className: "words" },
        el("h3", { className: "name", title: video.paths[0] }, video.name),
        el("p", { className: "meta" }, [pixels(video), codecName(video.codec)].filter(Boolean).join(" · ")))));
  });
  return el("section", { className: "shelf" },
    el("div", { className: "shelf-head" },
      el("h2", {}, t("In this library")),
      el("p", {}, `${count(info.n_videos, "video")} · ${span(info.video_s)} · ${count(info.n_clips, "clip")}`)),
    el("div", { className: "groups" }, cards));
}
