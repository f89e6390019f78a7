// A thumbnail that is scrubbed by moving the pointer over it. Its pictures are the clips' strips:
// tiles side by side in one JPEG, so that scrubbing asks the server for nothing more.

import { el } from "./dom.js";
import { clock } from "./format.js";
import { t } from "./text.js";

/** Every tile of some strips: [{strip, at, time}] in time order; time is null where unknown. */
export function tilesOf(strips, start_s = -Infinity, end_s = Infinity) {
  const all = strips.flatMap((strip) =>
    Array.from({ length: strip.n_frames }, (_, at) => ({ strip, at, time: strip.times?.[at] ?? null })),
  );
  const inside = all.filter(({ time }) => time === null || (time >= start_s - 0.001 && time < end_s));
  return inside.length ? inside : all;
}

// Sharp pictures are decoded by the server one by one: ask for few at once, and only for what is seen.
const waiting = [];
let asking = 0;

function askNext() {
  while (asking < 2 && waiting.length) {
    const image = waiting.shift();
    if (!image.isConnected) continue;
    asking += 1;
    const done = () => {
      asking -= 1;
      askNext();
    };
    image.addEventListener("load", () => { image.classList.add("ready"); done(); }, { once: true });
    image.addEventListener("error", () => { image.remove(); done(); }, { once: true });
    image.src = image.dataset.src;
  }
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    waiting.push(entry.target);
  }
  askNext();
}, { rootMargin: "150px" });

/**
 * @param tiles from tilesOf
 * @param options width, height: of the video; best_s: the tile shown at rest; stamp: text in the
 *   corner; sharp: address of a larger picture of the tile at rest; tag: what element holds it
 */
export function thumb(tiles, { width, height, best_s = null, stamp = "", sharp = "", scrub = true }) {
  const aspect = width && height ? width / height : 16 / 9;
  const tile = el("span", { className: `tile ${aspect >= 16 / 9 ? "wide" : "tall"}`, style: { aspectRatio: String(aspect) } });
  const label = el("span", { className: "stamp time" }, stamp);
  const cursor = el("span", { className: "cursor" });
  const box = el("span", { className: "thumb" }, tile, stamp ? label : null, cursor);
  const images = new Map();

  const show = (index) => {
    const { strip, at } = tiles[index];
    if (!images.has(strip)) {
      const image = el("img", {
        className: "strip", src: strip.url, alt: "", loading: "lazy", decoding: "async", draggable: "false",
        style: { width: `${strip.n_frames * 100}%` },
        onerror: () => { if (!box.querySelector("img.ready")) lose(box); },
      });
      images.set(strip, image);
      tile.prepend(image);
    }
    for (const [other, image] of images) image.style.visibility = other === strip ? "" : "hidden";
    images.get(strip).style.transform = `translateX(${(-100 * at) / strip.n_frames}%)`;
  };

  if (!tiles.length) {
    lose(box);
    return box;
  }
  const rest = restingTile(tiles, best_s);
  show(rest);
  if (sharp) {
    const image = el("img", { className: "sharp", alt: "", decoding: "async", "data-src": sharp, draggable: "false" });
    tile.append(image);
    seen.observe(image);
  }
  if (scrub && tiles.length > 1) {
    box.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      const { left, width: wide } = box.getBoundingClientRect();
      const share = Math.min(0.999, Math.max(0, (event.clientX - left) / wide));
      const index = Math.floor(share * tiles.length);
      box.classList.add("scrubbing");
      cursor.style.left = `${share * 100}%`;
      show(index);
      if (stamp && tiles[index].time !== null) label.textContent = clock(tiles[index].time, true);
    });
    box.addEventListener("pointerleave", () => {
      box.classList.remove("scrubbing");
      show(rest);
      label.textContent = stamp;
    });
  }
  return box;
}

function restingTile(tiles, best_s) {
  if (best_s === null || tiles[0].time === null) return Math.floor(tiles.length / 2);
  let best = 0;
  tiles.forEach(({ time }, index) => {
    if (Math.abs(time - best_s) < Math.abs(tiles[best].time - best_s)) best = index;
  });
  return best;
}

function lose(box) {
  box.classList.add("lost");
  box.textContent = t("no picture");
}
