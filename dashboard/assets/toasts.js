// Toasts: stacked at the top right of whatever page is open, read out by screen readers, reachable by
// keyboard (they come first in the page), gone by themselves unless someone looks at them.

import { element } from "./alert_words.js";
import { afterPaint } from "./latency.js";

const MOST = 4;
const LIFE_MS = { low: 10_000, medium: 15_000, high: 30_000, line: 60_000 };

export class Toasts {
  /** `open(toast)` is called for a toast that was clicked. */
  constructor(open) {
    this.open = open;
    this.root = element("section", "cc-toasts");
    this.root.setAttribute("role", "status");
    this.root.setAttribute("aria-label", "Alerts");
    this.root.setAttribute("aria-atomic", "false");
    this.shown = new Map(); // key -> {toast, box, leftMs}
    this.more = 0;
    this.paints = []; // {key, at: when it was painted}, the newest ones: for tests and benchmarks
    this.root.toasts = this;
    this.root.addEventListener("keydown", (event) => this.#key(event));
    document.body.prepend(this.root);
    this.clock = setInterval(() => this.#pass(500), 500);
  }

  /** Show one: {key, severity, title, text, note, goTo}. One with the same key takes its place. */
  show(toast) {
    const known = this.shown.get(toast.key);
    const box = known?.box ?? element("article", "");
    box.className = `cc-toast ${toast.severity}`;
    box.dataset.key = toast.key;
    box.replaceChildren(...this.#parts(toast));
    if (!known) this.root.prepend(box);
    this.shown.delete(toast.key);
    this.shown.set(toast.key, { toast, box, leftMs: LIFE_MS[toast.severity] });
    while (this.shown.size > MOST) {
      this.more += 1;
      this.dismiss(this.shown.keys().next().value);
    }
    this.#sayMore();
    this.#noteWhenPainted(toast.key);
  }

  has(key) {
    return this.shown.has(key);
  }

  dismiss(key) {
    const { box } = this.shown.get(key);
    const next = box.contains(document.activeElement) ? (box.nextElementSibling ?? box.previousElementSibling) : null;
    box.remove();
    this.shown.delete(key);
    if (!this.shown.size) this.more = 0;
    this.#sayMore();
    next?.querySelector("button")?.focus();
  }

  clear() {
    for (const key of [...this.shown.keys()]) this.dismiss(key);
  }

  close() {
    clearInterval(this.clock);
    this.root.remove();
  }

  #parts(toast) {
    const go = element("button", "cc-toast-go");
    go.type = "button";
    const head = element("span", "cc-toast-head");
    head.append(element("b", "cc-severity", toast.tag), element("strong", "", toast.title));
    go.append(head, element("span", "cc-toast-text", toast.text), element("small", "", toast.note));
    go.addEventListener("click", () => this.open(toast));
    const away = element("button", "cc-toast-away", "×");
    away.type = "button";
    away.setAttribute("aria-label", `Dismiss: ${toast.title}`);
    away.addEventListener("click", () => this.dismiss(toast.key));
    return [go, away];
  }

  #sayMore() {
    this.moreLine ??= element("p", "cc-toast-more");
    this.moreLine.textContent = this.more ? `${this.more} more on the Alerts page` : "";
    if (this.more) this.root.append(this.moreLine);
    else this.moreLine.remove();
  }

  /** Time runs only while the page is shown and nobody points at the toasts or has the focus in them. */
  #pass(ms) {
    if (document.hidden || this.root.matches(":hover") || this.root.contains(document.activeElement)) return;
    for (const [key, held] of this.shown) {
      held.leftMs -= ms;
      if (held.leftMs <= 0) this.dismiss(key);
    }
  }

  #key(event) {
    const key = event.target.closest("article")?.dataset.key;
    if (event.key !== "Escape" || !key) return;
    event.stopPropagation();
    this.dismiss(key);
  }

  #noteWhenPainted(key) {
    requestAnimationFrame(() =>
      afterPaint(() => {
        this.paints.push({ key, at: Date.now() });
        if (this.paints.length > 500) this.paints.shift();
      }),
    );
  }
}
