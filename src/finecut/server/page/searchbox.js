// The box one types into: words, or an image that was picked, dropped or pasted; filters below.

import { byId, el, icon, toast } from "./dom.js";
import { FILTERS } from "./route.js";
import { t } from "./text.js";
import { thumb, tilesOf } from "./thumb.js";

const MAX_BYTES = 20 * 2 ** 20;

export class SearchBox {
  #like = "";
  #image = null;

  /** `onask(ask)` is called when the person asks. */
  constructor(onask) {
    this.onask = onask;
    this.form = byId("search");
    this.input = byId("query");
    this.asked = byId("asked");
    this.panel = byId("filters");
    this.toggle = byId("filters-toggle");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.panelOpen = false;
      this.#ask();
    });
    this.toggle.addEventListener("click", () => {
      this.panelOpen = this.panel.hidden;
    });
    byId("filters-clear").addEventListener("click", () => {
      for (const name of FILTERS) this.#field(name).value = "";
      this.#ask();
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Backspace" && !this.input.value && (this.#like || this.#image)) this.#drop();
    });
    this.#images();
  }

  set panelOpen(open) {
    this.panel.hidden = !open;
    this.toggle.setAttribute("aria-expanded", String(open));
    if (open) this.panel.querySelector("input").focus();
  }

  get panelOpen() {
    return !this.panel.hidden;
  }

  focus() {
    this.input.focus();
    this.input.select();
  }

  /** Show what is being asked for; `source` is the result a "more like this" came from. */
  show(ask, source = null) {
    this.#like = ask.like;
    this.#image = ask.image;
    this.input.value = ask.q;
    for (const name of FILTERS) this.#field(name).value = ask.filters[name] ?? "";
    this.#showAsked(source);
    this.#showChips(ask.filters);
  }

  #field(name) {
    return this.form.elements[name];
  }

  #filters() {
    const filters = {};
    for (const name of FILTERS) {
      const value = this.#field(name).value.trim();
      if (value) filters[name] = value;
    }
    return filters;
  }

  #ask() {
    const q = this.input.value.trim();
    // Words say more about an image; they replace a moment.
    if (q) this.onask({ q, like: "", image: this.#image, filters: this.#filters() });
    else this.onask({ q: "", like: this.#like, image: this.#image, filters: this.#filters() });
  }

  #drop() {
    this.onask({ q: this.input.value.trim(), like: "", image: null, filters: this.#filters() });
    this.input.focus();
  }

  #showAsked(source) {
    this.asked.hidden = !this.#like && !this.#image;
    this.input.placeholder = this.asked.hidden ? t("Describe a moment") : t("or describe one");
    if (this.asked.hidden) return;
    const mini = el("span", { className: "mini" });
    let text = t("like this moment");
    if (this.#image) {
      text = t("like this image");
      const canvas = el("canvas", { width: 96, height: 64, "aria-hidden": "true" });
      mini.replaceWith(canvas);
      this.#preview(canvas, this.#image);
      this.asked.replaceChildren(canvas);
    } else {
      if (source) {
        text = t("like {name}", { name: source.name });
        mini.append(thumb(tilesOf(source.strips, source.start_s, source.end_s), { ...source, stamp: "", scrub: false }));
      }
      this.asked.replaceChildren(...(source ? [mini] : []));
    }
    this.asked.append(
      el("span", { className: "text", title: text }, text),
      el("button", { type: "button", className: "quiet", "aria-label": t("Stop searching {what}", { what: text }), onclick: () => this.#drop() }, icon("close")));
  }

  async #preview(canvas, file) {
    try {
      const bitmap = await createImageBitmap(file);
      const scale = Math.max(canvas.width / bitmap.width, canvas.height / bitmap.height);
      const [wide, tall] = [bitmap.width * scale, bitmap.height * scale];
      canvas.getContext("2d").drawImage(bitmap, (canvas.width - wide) / 2, (canvas.height - tall) / 2, wide, tall);
    } catch {
      canvas.hidden = true; // a format the browser cannot show; the server may still read it
    }
  }

  #showChips(filters) {
    const text = {
      path: (value) => t("path {value}", { value }),
      min_duration_s: (value) => t("longer than {value} s", { value }),
      max_duration_s: (value) => t("shorter than {value} s", { value }),
      recorded_after: (value) => t("from {value}", { value }),
      recorded_before: (value) => t("until {value}", { value }),
      min_height: (value) => t("{value}p or more", { value }),
    };
    byId("chips").replaceChildren(...Object.entries(filters).map(([name, value]) =>
      el("button", {
        type: "button", className: "chip", title: t("Remove this filter"), "aria-label": t("Remove the filter: {what}", { what: text[name](value) }),
        onclick: () => {
          this.#field(name).value = "";
          this.#ask();
        },
      }, text[name](value), icon("close"))));
  }

  #images() {
    const take = (file) => {
      if (!file) return;
      if (!file.type.startsWith("image/")) toast(t("That is not an image."));
      else if (file.size > MAX_BYTES) toast(t("That image is larger than 20 MB."));
      else this.onask({ q: this.input.value.trim(), like: "", image: file, filters: this.#filters() });
    };
    const picker = byId("file");
    byId("pick").addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      take(picker.files[0]);
      picker.value = "";
    });
    addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (!file) return;
      event.preventDefault();
      take(file);
    });
    const zone = byId("drop");
    const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    addEventListener("dragenter", (event) => {
      if (holdsFile(event) && !document.querySelector("dialog[open]")) zone.hidden = false;
    });
    addEventListener("dragover", (event) => {
      if (holdsFile(event)) event.preventDefault();
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) zone.hidden = true;
    });
    addEventListener("drop", (event) => {
      if (!holdsFile(event)) return;
      event.preventDefault();
      zone.hidden = true;
      take(event.dataTransfer.files[0]);
    });
  }
}
