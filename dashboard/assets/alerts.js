// The Alerts page: cards, counts by hour, and the list, newest first. Everything comes from the page's
// alert feed; Python only says what to show of it.

import { HourBars } from "./alert_hours.js";
import { alertFeed, KEEP } from "./alert_feed.js";
import { ago, clock, element, keyOf, mark, move, name, price, rank, severity, SEVERITIES, standing } from "./alert_words.js";
import { Cards } from "./cards.js";
import { base, mounted, useToken } from "./feed.js";

const ROWS = 100; // shown at first
const HOUR_MS = 3_600_000;

class Alerts {
  constructor(parent) {
    this.root = element("div", "cc-alerts");
    parent.append(this.root);
    this.cards = new Cards(this.root);
    this.hours = new HourBars(this.root);
    this.list = element("ol", "cc-alert-list");
    this.list.setAttribute("aria-label", "Alerts, newest first");
    this.none = element("p", "cc-alert-none");
    this.more = element("button", "cc-alert-more", `Show ${ROWS} more`);
    this.more.type = "button";
    this.root.append(this.list, this.none, this.more);
    this.shown = new Map(); // key -> {alert, item}
    this.most = ROWS;
    this.feed = alertFeed();
    this.onChange = () => this.#soon();
    this.feed.addEventListener("change", this.onChange);
    this.clock = setInterval(() => this.#soon(), 1000); // "12 s ago", and the hours; asks nobody
    this.list.addEventListener("click", (event) => this.#open(event));
    this.more.addEventListener("click", () => {
      this.most += ROWS;
      this.#draw();
    });
    this.feed.history().then(() => this.#draw());
  }

  update(data, trigger) {
    this.data = data;
    this.trigger = trigger;
    this.most = ROWS;
    this.#draw();
  }

  close() {
    this.closed = true;
    clearInterval(this.clock);
    this.feed.removeEventListener("change", this.onChange);
    this.root.remove();
  }

  #soon() {
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.frame = null;
    if (!this.data || this.closed) return;
    const wanted = this.feed.list.filter((alert) => this.#fits(alert));
    const full = this.feed.list.length >= KEEP;
    this.#cards(wanted);
    this.hours.show(wanted, { local: this.data.local_time, knownSinceMs: full ? this.feed.list.at(-1).triggered_at_ms : 0 });
    this.#rows(wanted.slice(0, this.most));
    this.more.hidden = wanted.length <= this.most;
    this.none.hidden = wanted.length > 0;
    this.none.textContent = this.#whyNone();
    this.root.dataset.count = wanted.length;
  }

  #fits(alert) {
    const { symbols, types, severity: least } = this.data;
    return (
      (!symbols.length || symbols.includes(alert.symbol)) &&
      (!types.length || types.includes(alert.alert_type)) &&
      rank(alert) >= SEVERITIES.indexOf(least)
    );
  }

  #whyNone() {
    if (!this.feed.began) return this.feed.connected ? "Reading alerts." : "The server cannot be reached; trying again.";
    if (this.feed.list.length) return `None of the ${this.feed.list.length.toLocaleString("en-US")} alerts fits the filters.`;
    return "No alert yet. They come as they fire; price lines are set on the live page.";
  }

  #cards(wanted) {
    const now = Date.now();
    const within = (ms) => wanted.filter((alert) => now - alert.triggered_at_ms < ms);
    const day = within(24 * HOUR_MS);
    const grave = day.filter((alert) => alert.severity === "HIGH").length;
    const bySymbol = {};
    for (const { symbol } of day) bySymbol[symbol] = (bySymbol[symbol] ?? 0) + 1;
    const [busiest, its] = Object.entries(bySymbol).sort((a, b) => b[1] - a[1])[0] ?? ["–", 0];
    const largest = [...day].sort((a, b) => Math.abs(b.price_change_percent) - Math.abs(a.price_change_percent))[0];
    const card = (label, value, note = "", tone = "flat") => ({ label, value: String(value), note, tone, spark: [], bars: false });
    const [newest] = wanted;
    this.cards.update([
      card("Last hour", within(HOUR_MS).length, `${day.length} in 24 h`),
      card("High severity, 24 h", grave, grave ? `of ${day.length}` : "none"),
      card("Largest move, 24 h", largest ? move(largest) : "–", largest?.symbol ?? ""),
      card("Busiest market, 24 h", busiest, its ? `${its} of ${day.length}` : ""),
      card("Newest", newest ? ago(newest.triggered_at_ms) : "–", newest ? `${newest.symbol} ${name(newest).toLowerCase()}` : ""),
    ]);
  }

  // ---- the list -------------------------------------------------------------------------

  #rows(alerts) {
    const keys = new Set(alerts.map(keyOf));
    for (const [key, { item }] of this.shown) {
      if (keys.has(key)) continue;
      item.remove();
      this.shown.delete(key);
    }
    alerts.forEach((alert, place) => {
      const held = this.shown.get(keyOf(alert)) ?? this.#add(keyOf(alert));
      if (held.alert !== alert || held.local !== this.data.local_time) this.#fill(held, alert);
      this.#age(held);
      if (this.list.children[place] !== held.item) this.list.insertBefore(held.item, this.list.children[place] ?? null);
    });
  }

  #add(key) {
    const item = document.createElement("li");
    item.innerHTML = `<a><span class="cc-severity"></span><span class="cc-alert-what"><b></b><i></i><em class="cc-standing"></em></span>
      <span class="cc-alert-move"></span><span class="cc-alert-prices"></span>
      <span class="cc-alert-message"></span><time><span></span><small></small></time></a>`;
    const held = { item };
    this.shown.set(key, held);
    return held;
  }

  #fill(held, alert) {
    held.alert = alert;
    held.local = this.data.local_time;
    const { item } = held;
    item.className = severity(alert);
    item.dataset.symbol = alert.symbol;
    item.dataset.type = alert.alert_type;
    const link = item.firstChild;
    link.href = `${base}?symbol=${encodeURIComponent(alert.symbol)}&at=${alert.window_start_ms}`;
    const [tag, what, moved, prices, message, time] = link.children;
    tag.textContent = alert.severity;
    what.children[0].textContent = alert.symbol;
    what.children[1].textContent = `${mark(alert)} ${name(alert)}`;
    moved.textContent = move(alert);
    moved.className = `cc-alert-move ${alert.price_change_percent < 0 ? "down" : "up"}`;
    prices.textContent = `${price(alert.open_price)} → ${price(alert.close_price)}`;
    message.textContent = alert.message;
    time.dateTime = new Date(alert.triggered_at_ms).toISOString();
    time.children[1].textContent = clock(alert.triggered_at_ms, held.local);
  }

  /** What changes by itself: how long ago it was, and whether its candle has kept the move. */
  #age({ item, alert }) {
    const words = ago(alert.triggered_at_ms);
    const [time] = item.querySelector("time").children;
    if (time.textContent !== words) time.textContent = words;
    const is = standing(alert);
    if ((item.dataset.standing ?? "") === is) return;
    item.dataset.standing = is;
    item.querySelector(".cc-standing").textContent = is;
  }

  #open(event) {
    const item = event.target.closest("li");
    if (!item || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; // a new tab follows the link
    event.preventDefault();
    const { alert } = [...this.shown.values()].find((held) => held.item === item);
    this.trigger("open", { symbol: alert.symbol, at: alert.window_start_ms });
  }
}

export default function (component) {
  useToken(component.data.token);
  const [alerts, cleanup] = mounted(component.parentElement, () => new Alerts(component.parentElement));
  alerts.update(component.data, component.setTriggerValue);
  return cleanup;
}
