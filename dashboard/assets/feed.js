// One WebSocket to /ws/prices for each (symbol, interval) on the page, shared by every component
// that shows it: it tells candles, how fresh they are, and the offset of the server's clock.

import { Channel } from "./channel.js";
import { latencies } from "./latency.js";

export { base, open, useToken } from "./channel.js";

const QUIET_MS = 10_000; // no update for so long: say so

export class Feed extends EventTarget {
  /**
   * Events: "candle" (detail: candle), "gap" (candles were lost), "state" (detail: this), "painted"
   * (detail: milliseconds since its publishing), "gaps" (others are known than before).
   */
  constructor(symbol, interval) {
    super();
    this.symbol = symbol;
    this.interval = interval;
    this.lastUpdateMs = 0;
    this.clockOffsetMs = 0; // server's clock minus ours
    this.gaps = []; // [from_ms, to_ms, reason]: what the feed of the trades did not see
    this.channel = new Channel(`ws/prices/${encodeURIComponent(symbol)}?interval=${encodeURIComponent(interval)}`);
    this.channel.addEventListener("frame", ({ detail }) => this.#read(detail));
    this.channel.addEventListener("state", () => this.#changed());
  }

  get connected() {
    return this.channel.connected;
  }

  get state() {
    if (!this.connected) return "disconnected";
    if (!this.lastUpdateMs) return "waiting";
    return Date.now() - this.lastUpdateMs > QUIET_MS ? "stale" : "live";
  }

  /** Milliseconds from the moment the job published it until now, by the server's clock. */
  age(candle) {
    return Math.max(0, Date.now() + this.clockOffsetMs - candle.published_at_ms);
  }

  /** `candles` are on the screen since just now: tell how long that took. */
  painted(candles) {
    for (const candle of candles) latencies.note(candle, this.age(candle));
    this.dispatchEvent(new CustomEvent("painted", { detail: this.age(candles.at(-1)) }));
  }

  /** These are the gaps that Python knows of. */
  know(gaps) {
    if (JSON.stringify(gaps) === JSON.stringify(this.gaps)) return;
    this.gaps = gaps;
    this.dispatchEvent(new CustomEvent("gaps", { detail: gaps }));
  }

  close() {
    clearTimeout(this.quiet);
    this.channel.close();
  }

  #read(frame) {
    if (frame.type === "price_update" || frame.type === "initial_data") {
      for (const candle of [frame.data].flat()) if (candle?.open_time_ms) this.#candle(candle, frame);
    } else if (frame.type === "gap") this.dispatchEvent(new CustomEvent("gap", { detail: frame }));
    else if (frame.type === "pong") this.#setClock(frame.timestamp);
  }

  #candle(candle, { type, source }) {
    const was = this.state;
    candle.fresh = type === "price_update" && source !== "history"; // only these tell the latency
    if (candle.fresh || this.age(candle) < QUIET_MS) this.lastUpdateMs = Date.now();
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => this.#changed(), QUIET_MS + 50);
    this.dispatchEvent(new CustomEvent("candle", { detail: candle }));
    if (was !== this.state) this.#changed();
  }

  #setClock(timestamp) {
    const serverMs = typeof timestamp === "number" ? timestamp : Date.parse(timestamp);
    const roundTripMs = Date.now() - this.channel.pingedAtMs;
    if (!Number.isFinite(serverMs) || roundTripMs > 1000) return;
    const offset = serverMs + roundTripMs / 2 - Date.now();
    // Clocks of one machine agree: below what a round trip can tell, an offset is noise.
    this.clockOffsetMs = Math.abs(offset) < 20 + roundTripMs ? 0 : offset;
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("state", { detail: this }));
  }
}

const pool = new Map();

/** The page's feed of symbol ("ALL" for every one) and interval. Give it back with release(). */
export function acquire(symbol, interval) {
  const name = `${symbol} ${interval}`;
  const held = pool.get(name) ?? { feed: new Feed(symbol, interval), users: 0 };
  held.users += 1;
  pool.set(name, held);
  return held.feed;
}

export function release(feed) {
  const name = `${feed.symbol} ${feed.interval}`;
  const held = pool.get(name);
  if (!held || --held.users) return;
  pool.delete(name);
  feed.close();
}

/** Run `change` once a mount: components are called again for each change of their data. */
export function mounted(element, create) {
  element.candlecast ??= { instance: create(), turn: 0 };
  const mount = element.candlecast;
  const turn = ++mount.turn;
  // Streamlit calls the cleanup of an overtaken call too, at times before the call that overtook it
  // has come this far: so only the newest may close the instance, and only once it is off the page.
  const cleanup = () => {
    if (mount.turn !== turn || element.isConnected) return;
    delete element.candlecast;
    mount.instance.close();
  };
  return [mount.instance, cleanup];
}
