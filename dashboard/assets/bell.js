// The bell at the top right of every page: shows alerts and crossed price lines as toasts and, by
// choice, as browser notifications; its panel holds the switches and the session's price lines.

import { alertFeed } from "./alert_feed.js";
import { alertSettings } from "./alert_settings.js";
import { ago, element, keyOf, mark, move, name, price, rank, severity, standing } from "./alert_words.js";
import { mounted, useToken } from "./feed.js";
import { priceLines } from "./price_lines.js";
import { Toasts } from "./toasts.js";

const LONG_AGO_MS = 120_000;

class Bell {
  constructor() {
    this.root = element("div", "cc-bell-box");
    this.root.innerHTML = `<button type="button" class="cc-bell" aria-expanded="false" aria-controls="cc-bell-panel">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 3a6 6 0 0 0-6 6v4l-2 3h16l-2-3V9a6 6 0 0 0-6-6zm-2 15a2 2 0 0 0 4 0"/></svg>
        <span class="cc-unread"></span></button>
      <div class="cc-bell-panel" id="cc-bell-panel" role="group" aria-label="Alerts" hidden>
        <button type="button" role="switch" data-do="toasts"><span>Toasts</span><i></i></button>
        <button type="button" role="switch" data-do="notify"><span>Browser notifications</span><i></i></button>
        <p class="cc-bell-word" role="status"></p>
        <h2>Price lines of this session</h2><ul></ul>
        <button type="button" data-do="all">All alerts</button>
      </div>`;
    document.body.prepend(this.root);
    [this.button, this.panel] = this.root.children;
    this.word = this.panel.querySelector(".cc-bell-word");
    this.unread = 0;
    this.toasts = new Toasts((toast) => this.#go(toast));
    this.feed = alertFeed();
    this.handlers = [
      [this.feed, "alert", ({ detail }) => this.#alert(detail)],
      [this.feed, "change", () => this.#show()],
      [priceLines, "crossed", ({ detail }) => this.#crossed(detail)],
      [priceLines, "change", () => this.#show()],
      [alertSettings, "change", () => this.#show()],
      [document, "keydown", (event) => event.key === "Escape" && this.#open(false)],
      [document, "pointerdown", (event) => this.root.contains(event.target) || this.#open(false)],
    ];
    for (const [target, type, handler] of this.handlers) target.addEventListener(type, handler);
    this.root.addEventListener("click", (event) => this.#click(event.target.closest("button")));
  }

  update({ settings }, setState, trigger) {
    this.trigger = trigger;
    alertSettings.receive(settings, (changed) => setState("settings", changed));
    this.#show();
  }

  close() {
    for (const [target, type, handler] of this.handlers) target.removeEventListener(type, handler);
    this.toasts.close();
    this.root.remove();
  }

  // ---- what happens ---------------------------------------------------------------------

  #alert({ alert, was }) {
    // The final word on one that was announced is no second piece of news, unless it is graver.
    const again = was && rank(alert) <= rank(was);
    if (!again) this.#count(1);
    const key = keyOf(alert);
    if (again && !this.toasts.has(key)) return;
    this.#tell({
      key,
      severity: severity(alert),
      tag: alert.severity,
      title: `${mark(alert)} ${alert.symbol} ${name(alert).toLowerCase()} ${move(alert)}`,
      text: alert.message,
      note: noteOn(alert),
      symbol: alert.symbol,
      at: alert.window_start_ms,
    }, !again);
  }

  #crossed({ line, candle }) {
    this.#count(1);
    this.#tell({
      key: `${line.id} ${candle.seq}`,
      severity: "line",
      tag: "PRICE LINE",
      title: `${line.side === "above" ? "▲" : "▼"} ${line.symbol} is ${line.side} ${price(line.price)}`,
      text: `The price reached your line; now ${price(candle.close)}.`,
      note: "",
      symbol: candle.symbol,
      at: candle.open_time_ms,
    }, true);
  }

  #tell(toast, isNews) {
    if (!alertSettings.muted) this.toasts.show(toast);
    if (isNews && alertSettings.notify && document.hidden) this.#notify(toast);
  }

  #notify({ key, title, text, symbol, at }) {
    const shown = new Notification(title, { body: text, tag: key });
    shown.onclick = () => {
      window.focus();
      this.#go({ symbol, at });
    };
  }

  // ---- what a hand asks for -------------------------------------------------------------

  #click(button) {
    if (!button) return;
    if (button === this.button) this.#open(this.panel.hidden);
    else if (button.dataset.do === "toasts") this.#mute(!alertSettings.muted);
    else if (button.dataset.do === "notify") this.#askToNotify();
    else if (button.dataset.do === "all") this.#leave("list", true);
    else if (button.dataset.line) alertSettings.removeLine(button.dataset.line);
  }

  #mute(muted) {
    alertSettings.change({ muted });
    if (muted) this.toasts.clear();
  }

  async #askToNotify() {
    if (alertSettings.notify) return alertSettings.change({ notify: false });
    if (!window.isSecureContext || !("Notification" in window)) {
      this.word.textContent = "This browser shows notifications only for pages from localhost or over https.";
      return;
    }
    const answer = await Notification.requestPermission();
    if (answer === "granted") alertSettings.change({ notify: true });
    this.word.textContent = answer === "granted" ? "Shown while this tab is hidden." : "Your browser does not allow them for this page.";
  }

  #open(open) {
    if (this.panel.hidden !== open) return;
    this.panel.hidden = !open;
    this.button.setAttribute("aria-expanded", open);
    if (open) this.#count(-this.unread);
    else if (this.panel.contains(document.activeElement)) this.button.focus();
  }

  /** To the candle: the chart that shows this market goes there itself, else Python opens the page. */
  #go({ symbol, at }) {
    const event = new CustomEvent("candlecast-go", { detail: { symbol, at }, cancelable: true });
    if (document.dispatchEvent(event)) this.#leave("go", { symbol, at });
  }

  #leave(where, value) {
    this.#open(false);
    this.trigger(where, value);
  }

  // ---- drawing --------------------------------------------------------------------------

  #count(more) {
    this.unread += more;
    this.#show();
  }

  #show() {
    const { muted, notify } = alertSettings;
    const listening = this.feed.connected && this.feed.began;
    const states = [this.unread && `${this.unread} new`, muted && "toasts muted", !listening && "not connected"];
    const words = ["Alerts", ...states.filter(Boolean)].join(", ");
    this.root.dataset.state = listening ? "listening" : "away";
    this.button.setAttribute("aria-label", words);
    this.button.title = words;
    this.button.classList.toggle("muted", muted);
    this.root.querySelector(".cc-unread").textContent = this.unread > 99 ? "99+" : this.unread || "";
    this.panel.querySelector("[data-do=toasts]").setAttribute("aria-checked", !muted);
    this.panel.querySelector("[data-do=notify]").setAttribute("aria-checked", notify);
    this.panel.querySelector("h2").hidden = !priceLines.lines.length;
    const lines = JSON.stringify(priceLines.lines.map((line) => [line, priceLines.isArmed(line)]));
    if (lines === this.shownLines) return; // a button under the pointer is not to be taken away
    this.shownLines = lines;
    this.panel.querySelector("ul").replaceChildren(...priceLines.lines.map(lineItem));
  }
}

/** A replay, or a job that catches up, tells of what was long ago: say so. */
function noteOn(alert) {
  if (standing(alert) === "provisional") return "provisional: its candle is still open";
  return Date.now() - alert.window_end_ms > LONG_AGO_MS ? ago(alert.window_end_ms) : "";
}

/** One price line in the panel, with the button that removes it. */
function lineItem(line) {
  const words = `${line.symbol} ${line.side} ${price(line.price)}`;
  const item = element("li", "");
  const remove = element("button", "", "×");
  remove.type = "button";
  remove.dataset.line = line.id;
  remove.setAttribute("aria-label", `Remove the price line ${words}`);
  item.append(element("span", "", words), element("small", "", priceLines.isArmed(line) ? "" : "waits for the price to go back"), remove);
  return item;
}

export default function (component) {
  useToken(component.data.token);
  const [bell, cleanup] = mounted(component.parentElement, () => new Bell());
  bell.update(component.data, component.setStateValue, component.setTriggerValue);
  return cleanup;
}
