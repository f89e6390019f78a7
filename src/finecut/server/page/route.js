// The address of the page says what is asked for, so that it can be shared and gone back to.
//   /?q=a+dog&path=*holiday*&min_height=720&play=<video_id>@12.5

export const FILTERS = [
  "path", "min_duration_s", "max_duration_s", "recorded_after", "recorded_before", "min_height",
];

// Images cannot go into an address; this tab remembers those it searched for.
const images = new Map();

/** {q, like, image, filters, play: {id, time}}, from the address and the history entry. */
export function current() {
  const params = new URLSearchParams(location.search);
  const filters = {};
  for (const name of FILTERS) if (params.get(name)) filters[name] = params.get(name);
  const play = /^([0-9a-f]{32})@([\d.]+)$/.exec(params.get("play") ?? "");
  return {
    q: (params.get("q") ?? "").trim(),
    like: params.get("like") ?? "",
    image: images.get(history.state?.image) ?? null,
    filters,
    play: play ? { id: play[1], time: Number(play[2]) } : null,
  };
}

export const isAsking = (ask) => Boolean(ask.q || ask.like || ask.image);

/** Two asks that have the same answer. */
export const sameAsk = (a, b) =>
  a.q === b.q && a.like === b.like && a.image === b.image &&
  JSON.stringify(a.filters) === JSON.stringify(b.filters);

export function addressOf(ask) {
  const params = new URLSearchParams();
  if (ask.q) params.set("q", ask.q);
  if (ask.like) params.set("like", ask.like);
  for (const name of FILTERS) if (ask.filters?.[name]) params.set(name, ask.filters[name]);
  if (ask.play) params.set("play", `${ask.play.id}@${Number(ask.play.time.toFixed(3))}`);
  return params.size ? `/?${params}` : "/";
}

/** Go to an ask: a new history entry, or in place of this one. */
export function go(ask, { replace = false } = {}) {
  let key;
  if (ask.image) {
    key = [...images].find(([, file]) => file === ask.image)?.[0] ?? `image-${Date.now()}`;
    images.set(key, ask.image);
  }
  const state = { image: key, played: replace ? history.state?.played : Boolean(ask.play) };
  history[replace ? "replaceState" : "pushState"](state, "", addressOf(ask));
}
