// Why a moment was answered, where its steps are, and how the query was understood.

import { el } from "./dom.js";
import { clock } from "./format.js";
import { t } from "./text.js";

const CHANNELS = {
  picture: t("Seen"), said: t("Said"), shown: t("On screen"), told: t("Told about it"), named: t("In its name"),
};

/** What the query language can do, one example each. */
export const SYNTAX = [
  ["dog -people", t("leave out")],
  ["“welcome back”", t("said or shown, word for word")],
  ["a car THEN a fire", t("in this order")],
  ["a man AND a dog", t("both in one moment")],
  ["in:holiday", t("only in a folder")],
];

/** How the query was read and what to know of the answer; null where there is nothing to say. */
export function understood(answer) {
  const lines = [];
  if (answer.kind === "text" && answer.understood !== answer.query) {
    lines.push(el("p", {}, t("Understood as"), " ", el("code", {}, answer.understood)));
  }
  lines.push(...answer.notes.map((note) => el("p", {}, note)));
  return lines.length ? el("div", { className: "understood", id: "understood" }, lines) : null;
}

/** Reasons of a moment; null where it is the picture alone, which the match says already. */
export function reasons(result) {
  if (result.steps.length || !result.reasons.some((reason) => reason.channel !== "picture")) return null;
  return el("ul", { className: "reasons" }, result.reasons.map((reason) => el(
    "li", { className: reason.channel, title: reason.source ?? "" },
    el("b", {}, CHANNELS[reason.channel] ?? reason.channel), " ",
    reason.text ? el("q", {}, reason.text) : reason.score.toFixed(2),
    reason.start_s === null ? null : el("span", { className: "time" }, ` ${clock(reason.start_s)}`),
  )));
}

/** Steps of "a THEN b", each a button that plays from there; null of other queries. */
export function steps(result, open) {
  if (!result.steps.length) return null;
  return el("ol", { className: "steps" }, result.steps.map((step) => el(
    "li", {},
    el("button", { type: "button", className: "link", onclick: () => open({ ...result, play_s: step.start_s }) },
      el("span", { className: "time" }, `${clock(step.start_s)} `), step.query),
  )));
}

/** A query with a mark under the character where it cannot be read. */
export function pointer(query, at) {
  const before = query.slice(0, at);
  return el("pre", { className: "pointer" }, before, el("mark", {}, query.slice(at, at + 1) || " "), query.slice(at + 1));
}

/** One line of what can be asked for. */
export function hint() {
  return el("p", { className: "hint", id: "hint" }, SYNTAX.flatMap(([example, what], place) => [
    place ? " · " : "", el("code", {}, example), ` ${what}`,
  ]));
}
