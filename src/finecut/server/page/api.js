// Calls to the server. The token, where one is asked for, lives in this tab's sessionStorage.

import { t } from "./text.js";

const TOKEN = "finecut-token";

/** What the server said no with: a problem document. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? t("The server answered {status}.", { status }));
    this.status = status;
    this.at = problem.at ?? null; // the character where a query cannot be read
    this.kind = (problem.type ?? "").split(":").at(-1);
  }
}

let askForToken = async () => false;

/** `ask` is called when the token is missing or wrong; it resolves to whether to try again. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

// `finecut serve` may print an address that ends in #token=…: keep the token, clear the address.
export function takeTokenFromAddress() {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (!match) return;
  sessionStorage.setItem(TOKEN, decodeURIComponent(match[1]));
  history.replaceState(history.state, "", location.pathname + location.search);
}

async function send(path, options = {}) {
  const headers = new Headers(options.headers);
  headers.set("X-Finecut", "1");
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { detail: t("The server does not answer. Is `finecut serve` still running?") });
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(response.status, problem);
}

async function call(path, options = {}) {
  for (;;) {
    try {
      return await (await send(path, options)).json();
    } catch (error) {
      if (error.status !== 401 || !(await askForToken())) throw error;
    }
  }
}

/** Log in with a token, so that pictures and videos load too. Throws ApiError when it is wrong. */
export async function login(token) {
  sessionStorage.setItem(TOKEN, token);
  try {
    await send("/api/v1/session", { method: "POST" });
  } catch (error) {
    sessionStorage.removeItem(TOKEN);
    throw error;
  }
}

/** Log in again with the kept token; whether there was one and it still holds. */
export async function renewSession() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? login(token).then(() => true, () => false) : false;
}

/** Why an address cannot be had, as an ApiError; null when it can. Reads one byte. */
export async function trouble(url) {
  try {
    await (await send(url, { headers: { Range: "bytes=0-0" } })).arrayBuffer();
    return null;
  } catch (error) {
    return error;
  }
}

/** Make sure that this tab may ask: log in again with a kept token, else ask for one. */
export async function ensureSession() {
  const session = await (await send("/api/v1/session")).json();
  if (!session.token_required) return;
  const token = sessionStorage.getItem(TOKEN);
  if (token) {
    try {
      await login(token);
      return;
    } catch (error) {
      if (error.status !== 401) throw error;
    }
  } else if (session.admitted) return;
  await askForToken();
}

function address(path, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") query.append(name, one);
    }
  }
  return query.size ? `${path}?${query}` : path;
}

/** ask: {q | like | image, filters}; more: k, recall_k, video_id … */
export function search(ask, more = {}, signal = undefined) {
  const params = { ...ask.filters, ...more };
  if (ask.image) {
    const body = new FormData();
    body.append("image", ask.image);
    if (ask.q) body.append("q", ask.q);
    return call(address("/api/v1/search", params), { method: "POST", body, signal });
  }
  return call(address("/api/v1/search", { q: ask.q, like: ask.like, ...params }), { signal });
}

export const indexInfo = () => call("/api/v1/index");
export const videos = (params) => call(address("/api/v1/videos", params));
export const video = (id) => call(`/api/v1/videos/${id}`);
export const jobs = () => call("/api/v1/index/jobs");
export const cancelJob = (id) => call(`/api/v1/index/jobs/${id}`, { method: "DELETE" });
export const startJob = () =>
  call("/api/v1/index/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: "{}",
  });
