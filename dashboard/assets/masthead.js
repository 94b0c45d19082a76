// The page's title with its live badge. It is also the doorbell: when candles have come, it asks
// Python, at most once a second and at each closed candle, to drain the session's mailbox.

import { Cards } from "./cards.js";
import { acquire, mounted, release, useToken } from "./feed.js";
import { afterPaint } from "./latency.js";

const RING_EVERY_MS = 1000;
const CATCHING_UP_MS = 10_000; // event time this far behind the clock
const TIDY_EVERY = 60; // rings

class Masthead {
  constructor(parent) {
    this.root = document.createElement("header");
    this.root.className = "cc-masthead";
    this.root.innerHTML = `<h1></h1><span class="cc-price"></span><span class="cc-badge" role="status"></span><span class="cc-tags"></span><span class="cc-sentence"></span>`;
    parent.append(this.root);
    this.cards = new Cards(parent);
    [this.title, this.price, this.badge, this.tags, this.sentence] = this.root.children;
    this.rungAtMs = 0;
    this.ages = [];
    this.rings = 0;
    this.unpainted = new Map(); // symbol -> newest tick since the last frame
    this.root.masthead = this; // for tests and benchmarks
    this.handlers = {
      candle: (event) => this.#candle(event.detail),
      painted: (event) => this.#painted(event.detail),
      state: () => this.#state(),
    };
    this.onVisible = () => document.hidden || this.#ring();
    document.addEventListener("visibilitychange", this.onVisible);
    this.clock = setInterval(() => this.#show(), 1000); // words such as "stale since"; asks nobody
  }

  update(data, trigger) {
    const other = data.symbol !== this.data?.symbol || data.interval !== this.data?.interval;
    this.data = data;
    this.trigger = trigger;
    this.title.textContent = data.title;
    this.tags.replaceChildren(...data.tags.map((tag) => Object.assign(document.createElement("span"), { textContent: tag })));
    this.sentence.textContent = data.sentence;
    for (const name of ["up", "down"]) document.documentElement.style.setProperty(`--cc-${name}`, data[name]);
    this.cards.update(data.cards);
    if (other) this.#subscribe();
    this.feed.know(data.gaps);
    this.#show();
  }

  close() {
    clearInterval(this.clock);
    clearTimeout(this.ringLater);
    document.removeEventListener("visibilitychange", this.onVisible);
    this.#unsubscribe();
    this.cards.close();
    this.root.remove();
  }

  #subscribe() {
    this.#unsubscribe();
    this.ages = [];
    this.newest = null;
    this.price.textContent = "";
    this.feed = acquire(this.data.symbol, this.data.interval);
    for (const [name, handler] of Object.entries(this.handlers)) this.feed.addEventListener(name, handler);
  }

  #unsubscribe() {
    if (!this.feed) return;
    for (const [name, handler] of Object.entries(this.handlers)) this.feed.removeEventListener(name, handler);
    release(this.feed);
    this.feed = null;
    cancelAnimationFrame(this.frame); // it would draw a candle of the feed that was left
    this.frame = null;
  }

  #candle(candle) {
    if (this.newest && candle.open_time_ms < this.newest.open_time_ms) return this.data.quiet || this.#soon(candle.is_closed);
    this.newest = candle;
    if (candle.fresh) this.unpainted.set(candle.symbol, candle);
    this.frame ??= requestAnimationFrame(() => this.#frame());
    if (!this.data.quiet) this.#soon(candle.is_closed);
  }

  #frame() {
    this.frame = null;
    this.#showPrice();
    const [drawn, { feed }] = [[...this.unpainted.values()], this];
    this.unpainted.clear();
    if (!drawn.length || document.querySelector(".cc-chart")) return; // the chart tells it of its own frames
    afterPaint(() => feed?.painted(drawn));
  }

  #soon(now) {
    this.due = true;
    if (now) return this.#ring();
    const wait = RING_EVERY_MS - (Date.now() - this.rungAtMs);
    if (wait <= 0) this.#ring();
    else this.ringLater ??= setTimeout(() => this.#ring(), wait);
  }

  #ring() {
    clearTimeout(this.ringLater);
    this.ringLater = null;
    // A replay closes hundreds of candles a second: one rerun a quarter of a second shows them all.
    const sinceMs = Date.now() - this.rungAtMs;
    if (sinceMs < RING_EVERY_MS / 4) {
      this.ringLater = setTimeout(() => this.#ring(), RING_EVERY_MS / 4 - sinceMs);
      return;
    }
    if (!this.due || document.hidden) return;
    this.due = false;
    this.rungAtMs = Date.now();
    this.rings += 1;
    this.trigger("ring", this.rings);
    if (this.rings % TIDY_EVERY === 0) tidy();
  }

  #painted(age) {
    this.ages.push(age);
    if (this.ages.length > 15) this.ages.shift();
  }

  #state() {
    this.#show();
    const state = this.feed?.state;
    // Python knows whether Redis is there: let it say so on the page.
    if (state === "stale") this.#soon(true);
  }

  #showPrice() {
    const { places } = this.data;
    if (places === null || !this.newest) return;
    const text = this.newest.close.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
    if (text === this.price.textContent) return;
    const rose = this.newest.close >= (this.shownClose ?? this.newest.open);
    this.shownClose = this.newest.close;
    this.price.textContent = text;
    this.price.className = `cc-price ${rose ? "up" : "down"}`;
  }

  #show() {
    const [state, words] = this.#words();
    if (this.badge.dataset.state !== state) this.badge.dataset.state = state;
    if (this.badge.textContent !== words) this.badge.textContent = words;
  }

  #words() {
    const state = this.feed?.state ?? "disconnected";
    if (state === "disconnected") return [state, "Disconnected"];
    if (!this.data.redis_connected && state !== "live") return ["disconnected", "Redis is away"];
    if (state === "waiting") return [state, "Waiting for data"];
    if (state === "stale") return [state, `Stale since ${new Date(this.feed.lastUpdateMs).toLocaleTimeString("en-GB")}`];
    const behind = this.newest ? this.newest.published_at_ms - this.newest.close_time_ms : 0;
    if (behind > CATCHING_UP_MS) return ["catching-up", "Catching up"];
    const ages = [...this.ages].sort((a, b) => a - b);
    const median = ages[Math.floor(ages.length / 2)];
    return ["live", median === undefined ? "Live" : `Live · ${Math.round(median)} ms`];
  }
}

/** Streamlit leaves two marks and a measure of each rerun in the browser's timeline, for ever. */
function tidy() {
  performance.clearMarks();
  performance.clearMeasures();
}

export default function (component) {
  useToken(component.data.token);
  const [masthead, cleanup] = mounted(component.parentElement, () => new Masthead(component.parentElement));
  masthead.update(component.data, component.setTriggerValue);
  return cleanup;
}
