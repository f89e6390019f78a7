// Numbers as people read them.

import { number, t } from "./text.js";

/** 75.4 -> "1:15.4"; 3675 -> "1:01:15". Tenths where `tenths` is set. */
export function clock(seconds, tenths = false) {
  const scale = tenths ? 10 : 1;
  const ticks = Math.max(0, tenths ? Math.round(seconds * 10) : Math.floor(seconds + 1e-6));
  const whole = Math.floor(ticks / scale);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  const tail = tenths ? `.${ticks % 10}` : "";
  return (h ? `${h}:${two(m)}` : `${m}`) + `:${two(s)}${tail}`;
}

/** "12 min", "1 h 05 min", "40 s". */
export function span(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return t("{n} s", { n: s });
  const m = Math.round(s / 60);
  if (m < 60) return t("{n} min", { n: m });
  return t("{h} h {min} min", { h: Math.floor(m / 60), min: String(m % 60).padStart(2, "0") });
}

export function bytes(n) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i += 1;
  }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export const percent = (share) => `${Math.round(share * 100)}%`;

/** "1 clip", "1,204 clips". */
export const count = (n, one, many = `${one}s`) => t(`{n} ${n === 1 ? one : many}`, { n: number(n) });

/** "1920 × 1080". */
export const pixels = (video) => (video.width ? `${video.width} × ${video.height}` : "");

const CODECS = { h264: "H.264", hevc: "H.265", vp9: "VP9", vp8: "VP8", av1: "AV1", mpeg4: "MPEG-4",
  mpeg2video: "MPEG-2", mpeg1video: "MPEG-1", mjpeg: "Motion JPEG", prores: "ProRes", gif: "GIF",
};
export const codecName = (codec) => CODECS[codec] ?? (codec || t("unknown codec")).toUpperCase();

/** Where the frame shown at a time is, at most so many pixels wide and high. */
export const frameUrl = (id, time_s, side) =>
  `/api/v1/videos/${id}/frame?time_s=${Math.max(0, time_s).toFixed(3)}&max_side=${side}`;

/** The folder part of a path, for a line under the name. */
export const folder = (path) => path.replace(/[\\/][^\\/]*$/, "");
