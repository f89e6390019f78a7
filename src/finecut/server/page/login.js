// The sheet that asks for the server's token. It stays in this tab (sessionStorage).

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { t } from "./text.js";

let open = null;

/** Ask until a token is right; resolves to true then, to false when the person gives up. */
export function askForToken() {
  open ??= new Promise((resolve) => {
    const dialog = byId("login");
    const input = el("input", { type: "password", autocomplete: "current-password", "aria-label": t("Token"), required: true });
    const wrong = el("p", { className: "bad", role: "alert" });
    let right = false;
    const form = el("form", {
      className: "login",
      onsubmit: async (event) => {
        event.preventDefault();
        try {
          await api.login(input.value.trim());
          right = true;
          dialog.close();
        } catch (error) {
          wrong.textContent = error.message;
          input.select();
        }
      },
    },
    el("p", {}, t("This library asks for a token. Whoever started the server has it.")),
    el("div", { className: "row" }, input, el("button", { type: "submit", className: "primary" }, t("Open"))),
    wrong);
    dialog.replaceChildren(
      el("header", { className: "sheet-head" }, el("h2", { id: "login-title" }, t("Token"))),
      el("div", { className: "sheet-body" }, form));
    dialog.addEventListener("close", () => {
      open = null;
      resolve(right);
    }, { once: true });
    dialog.showModal();
    input.focus();
  });
  return open;
}
