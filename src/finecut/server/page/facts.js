// What is known of a video, in words.

import { el } from "./dom.js";
import { bytes, codecName, pixels, span } from "./format.js";
import { t } from "./text.js";

const scores = ({ recall_score: recall, rerank_score: rerank }) =>
  t("recall {score}", { score: recall.toFixed(3) }) + (rerank === null ? "" : t(", re-rank {score}", { score: rerank.toFixed(3) }));

/** Terms and their values for a list; `result` is the moment that is shown. */
export function factsOf(video, result) {
  const rows = [
    [t("Length"), span(video.duration_s)],
    [t("Picture"), [pixels(video), video.fps ? `${Number(video.fps.toFixed(2))} fps` : ""].filter(Boolean).join(", ")],
    [t("Coding"), t("{codec} in {container}", { codec: codecName(video.codec), container: video.container.split(",")[0] })],
    [t("Size"), bytes(video.size_bytes)],
    [t("Date"), new Date(1000 * (video.recorded_at ?? video.modified_at)).toLocaleDateString()],
  ];
  if (video.lost_frames) rows.push([t("Damage"), t("{n} frames could not be decoded", { n: video.lost_frames })]);
  if (result.match) rows.push([t("Scores"), scores(result)]);
  return rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
}

/** A video without a search, as something the player can show. */
export function asResult(video, time = 0) {
  return {
    video: video.paths[0], video_id: video.video_id, name: video.name, duration_s: video.duration_s,
    width: video.width, height: video.height, codec: video.codec, start_s: time, end_s: video.duration_s,
    best_s: time, strips: video.clips ?? [], media_url: video.media_url, evidence: null, match: null,
  };
}
