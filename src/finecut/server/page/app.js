// The page: the address says what is asked for; this file asks, shows the answer, and plays.

import * as api from "./api.js";
import { byId, el, toast } from "./dom.js";
import { asResult } from "./facts.js";
import { count } from "./format.js";
import { installKeys } from "./keys.js";
import { Library } from "./library.js";
import { askForToken } from "./login.js";
import { Player } from "./player.js";
import { hint, pointer } from "./reasons.js";
import { momentKey, shelf, showNotice, showResults, showSkeletons } from "./results.js";
import * as route from "./route.js";
import { SearchBox } from "./searchbox.js";
import { t, translatePage } from "./text.js";

const FIRST_K = 24;
const RENEW_MS = 3_600_000;
const EXAMPLES = [
  "a person talking to the camera", "a dog running outside", "waves on a beach",
  "food on a plate", "cars on a street at night", "people on a stage",
];

let info = null; // of the index; null until the server has said
let shown = null; // the ask whose answer is on the page
let answer = null;
let k = FIRST_K;
let source = null; // the result a "more like this" came from
let running = null; // AbortController of the search under way

const status = byId("status");
const box = new SearchBox((ask) => askFor(ask));
const player = new Player({
  like: (result) => {
    player.close();
    like(result);
  },
  changed: (result) => played(result),
  linkTo: (result) => location.origin + route.addressOf({
    ...route.current(), play: { id: result.video_id, time: result.at_s ?? result.start_s },
  }),
});
const library = new Library({ open: openVideo, updated: () => refreshed() });

function askFor(ask, from = null) {
  source = from;
  k = FIRST_K;
  if (shown && route.sameAsk(shown, ask) && route.isAsking(ask)) {
    render(true);
    return;
  }
  route.go(ask);
  render();
}

function like(result) {
  const time = result.at_s ?? result.best_s;
  askFor({ q: "", like: `${result.video_id}@${time.toFixed(3)}`, image: null, filters: route.current().filters }, result);
  byId("results").focus();
}

/** Bring the page in line with the address. */
async function render(again = false) {
  const ask = route.current();
  box.show(ask, source);
  const asking = route.isAsking(ask);
  document.body.dataset.view = asking ? "results" : "home";
  document.title = ask.q ? `${ask.q} · finecut` : asking ? `${t("Similar")} · finecut` : "finecut";
  if (!asking) {
    running?.abort();
    [shown, answer] = [null, null];
    await home();
  } else if (again || !shown || !route.sameAsk(shown, ask)) {
    await run(ask);
  } else {
    running?.abort(); // back to an answer that is still on the page: a later one must not replace it
  }
  follow(route.current());
}

async function run(ask) {
  running?.abort();
  const mine = (running = new AbortController());
  const working = byId("working");
  working.hidden = false;
  if (!answer) showSkeletons();
  try {
    const found = await api.search(filtersForServer(ask), { k, recall_k: Math.max(100, 5 * k) }, mine.signal);
    if (mine.signal.aborted) return;
    const anew = !shown || !route.sameAsk(shown, ask);
    [shown, answer] = [ask, found];
    showAnswer();
    if (anew) scrollTo(0, 0);
  } catch (error) {
    if (error.name === "AbortError" || mine.signal.aborted) return;
    [shown, answer] = [null, null];
    showError(error);
  } finally {
    if (running === mine) working.hidden = true;
  }
}

// A word among the path filter means "somewhere in the path"; wildcards are taken as they are.
function filtersForServer(ask) {
  const { path, ...others } = ask.filters;
  const glob = !path ? undefined : /[*?[]/.test(path) ? path : `*/*${path}*`;
  // The server's end is exclusive; a person who says "until the 5th" means all of the 5th.
  const until = new Date(`${others.recorded_before ?? ""}T12:00`);
  if (!Number.isNaN(until.getTime())) {
    until.setDate(until.getDate() + 1);
    const two = (n) => String(n).padStart(2, "0");
    others.recorded_before = `${until.getFullYear()}-${two(until.getMonth() + 1)}-${two(until.getDate())}`;
  }
  return { ...ask, filters: { ...others, path: glob } };
}

function showAnswer() {
  const ask = shown;
  if (!answer.results.length) {
    status.textContent = t("No results.");
    const filtered = Object.keys(ask.filters).length > 0;
    if (answer.notes.length || (answer.gallery && !filtered)) {
      showNotice({ title: t("Nothing found"), text: answer.notes.join(" ") });
    } else if (filtered) {
      showNotice({
        title: t("No video passes the filters"),
        text: t("Nothing was searched. Take a filter away and try again."),
        actions: [el("button", { type: "button", className: "primary", onclick: () => askFor({ ...ask, filters: {} }) }, t("Clear the filters"))],
      });
    } else showEmpty();
    return;
  }
  const videos = new Set(answer.results.map((result) => result.video_id)).size;
  status.textContent = t("{found} in {videos}, from {clips} in {ms} ms", {
    found: answer.good_match ? count(answer.results.length, "moment") : count(answer.results.length, "guess", "guesses"),
    videos: count(videos, "video"), clips: count(answer.gallery, "clip"), ms: Math.max(1, Math.round(answer.elapsed_ms)),
  });
  showResults(answer, filtersForServer(ask), (result, list) => play(result, list), {
    like, k, maxK: info?.max_k ?? FIRST_K,
    more: () => {
      k = Math.min(2 * k, info?.max_k ?? FIRST_K);
      render(true);
    },
  });
}

function showError(error) {
  status.textContent = "";
  if (error.kind === "index-not-found") {
    showEmpty();
    return;
  }
  showNotice({
    bad: true,
    title: error.status === 0 ? t("No answer") : [400, 422].includes(error.status) ? t("That cannot be searched for") : t("The search failed"),
    text: error.message,
    detail: error.at === null ? null : pointer(route.current().q, error.at),
    actions: [el("button", { type: "button", className: "primary", onclick: () => render(true) }, t("Try again"))],
  });
}

function showEmpty() {
  status.textContent = "";
  showNotice({
    title: t("Nothing is indexed yet"),
    text: t("Point finecut at a folder of videos. This page finds them as soon as they are indexed."),
    command: "finecut index ~/Videos",
    actions: [el("button", { type: "button", className: "plain", onclick: () => library.open() }, t("Library")),
      el("button", { type: "button", className: "primary", onclick: () => render(true) }, t("Look again"))],
  });
}

async function home() {
  status.textContent = "";
  try {
    info = await api.indexInfo();
    if (!info.n_clips) {
      showEmpty();
      return;
    }
    const examples = el("div", { className: "examples", id: "examples" }, EXAMPLES.map((q) =>
      el("button", { type: "button", className: "example", onclick: () => askFor({ q, like: "", image: null, filters: {} }) }, q)));
    byId("results").replaceChildren(examples, hint());
    const { videos } = await api.videos({ status: "done", limit: 8 });
    if (route.isAsking(route.current())) return;
    byId("results").replaceChildren(examples, hint(), ...[shelf(videos, info, openVideo)].filter(Boolean));
  } catch (error) {
    showError(error);
  }
}

// -- playing: the address follows the player, and the player the address -------------------------

function play(result, list = []) {
  const ask = filtersForServer(route.current());
  const order = answer?.results ?? [];
  const known = new Set(order.map(momentKey));
  player.open(result, ask, [...order, ...list.filter((other) => !known.has(momentKey(other)))]);
}

async function openVideo(video) {
  byId("library").close();
  try {
    player.open(asResult(await api.video(video.video_id)), filtersForServer(route.current()));
  } catch (error) {
    toast(error.message);
  }
}

/** The player shows a result, or has closed (null). */
function played(result) {
  const ask = route.current();
  if (!result) {
    if (!ask.play) return;
    // Going back keeps the history short; a shared link has nothing behind it to go back to.
    if (history.state?.played) history.back();
    else route.go({ ...ask, play: null }, { replace: true });
    return;
  }
  const time = result.play_s ?? result.start_s;
  route.go({ ...ask, play: { id: result.video_id, time } }, { replace: Boolean(ask.play) });
}

async function follow({ play: wanted }) {
  if (!wanted) {
    player.close();
    return;
  }
  if (player.isOpen && player.shown?.video_id === wanted.id) return;
  const all = answer?.results ?? [];
  const found = all.find((result) => result.video_id === wanted.id &&
    wanted.time >= result.start_s - 0.01 && wanted.time < result.end_s);
  if (found) {
    const inside = Math.abs(wanted.time - found.start_s) < 0.01;
    play(inside ? found : { ...found, play_s: wanted.time });
    return;
  }
  try {
    play(asResult(await api.video(wanted.id), wanted.time));
  } catch (error) {
    toast(error.message);
    route.go({ ...route.current(), play: null }, { replace: true });
  }
}

async function refreshed() {
  info = await api.indexInfo().catch(() => info);
  if (!player.isOpen) render(true);
}

// -- start ---------------------------------------------------------------------------------------

async function start() {
  translatePage();
  api.takeTokenFromAddress();
  api.onTokenNeeded(askForToken);
  installKeys({ box });
  byId("library-open").addEventListener("click", () => library.open());
  byId("brand").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    askFor({ q: "", like: "", image: null, filters: {} });
    box.focus();
  });
  addEventListener("popstate", () => render());
  setInterval(api.renewSession, RENEW_MS); // pictures load by a cookie, which ends
  try {
    await api.ensureSession();
  } catch (error) {
    showError(error);
    return;
  }
  await render();
  info ??= await library.refresh();
  if (info?.job) library.refresh();
}

start();
