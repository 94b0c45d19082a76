// The price lines of this session ("tell me above or below X"), and who watches them: every revision
// of a forming minute is compared with the one before it.

import { acquire, release } from "./feed.js";

/** How far the price has to go back, as a part of the line's, before the line can be crossed again. */
export const BACK = 0.0005;

/**
 * Compare one revision with what was `known` of the line (undefined at first); answers what is known
 * now, with `crossed`. A crossing needs the price on the near side before, so the first revision and
 * one that finds the price beyond the line already tell nothing. High and low count where they are
 * new: the price was there between two revisions, and may be back.
 */
export function step(line, known, candle) {
  // Below is above with every sign turned round.
  const sign = line.side === "above" ? 1 : -1;
  const [far, near] = sign > 0 ? [candle.high, candle.low] : [-candle.low, -candle.high];
  const [at, last] = [sign * line.price, sign * candle.close];
  const now = { openMs: candle.open_time_ms, far, near };
  if (!known) return { ...now, armed: last < at, crossed: false };
  if (candle.open_time_ms < known.openMs) return { ...known, crossed: false };
  const same = candle.open_time_ms === known.openMs || known.openMs === null;
  const farthest = same && far <= known.far ? last : far;
  const nearest = same && near >= known.near ? last : near;
  const back = at - line.price * BACK;
  // An armed line fires wherever the price got to; an unarmed one that saw the price go back fires
  // only if it stands beyond the line now: its farthest point may have been before it went back.
  const crossed = known.armed ? farthest >= at : nearest <= back && last >= at;
  const armed = crossed ? last <= back : known.armed || nearest <= back;
  return { ...now, armed, crossed };
}

/** What is known of a line when it is set: the price, and nothing of the candle's high and low before. */
export function start(line, price) {
  const armed = line.side === "above" ? price < line.price : price > line.price;
  return { openMs: null, far: Infinity, near: -Infinity, armed, crossed: false };
}

class PriceLines extends EventTarget {
  /** Events: "change" (of the lines), "crossed" (detail: {line, candle}). */
  constructor() {
    super();
    this.lines = [];
    this.known = new Map(); // id of the line -> what `step` answered
    this.feeds = new Map(); // symbol -> feed
    this.onCandle = ({ detail }) => this.#candle(detail);
  }

  of(symbol) {
    return this.lines.filter((line) => line.symbol === symbol);
  }

  /** All of them; `prices`: id of a new line -> the price when it was set. */
  set(lines, prices = {}) {
    this.lines = lines;
    for (const line of lines) if (line.id in prices) this.known.set(line.id, start(line, prices[line.id]));
    for (const id of this.known.keys()) if (!lines.some((line) => line.id === id)) this.known.delete(id);
    this.#listen();
    this.dispatchEvent(new Event("change"));
  }

  /** Whether the line fires at the next crossing; until then the price has to come back to its near side. */
  isArmed({ id }) {
    return this.known.get(id)?.armed ?? true;
  }

  #listen() {
    const wanted = new Set(this.lines.map(({ symbol }) => symbol));
    for (const [symbol, feed] of this.feeds) {
      if (wanted.has(symbol)) continue;
      feed.removeEventListener("candle", this.onCandle);
      release(feed);
      this.feeds.delete(symbol);
    }
    for (const symbol of wanted) {
      if (this.feeds.has(symbol)) continue;
      const feed = acquire(symbol, "1m");
      feed.addEventListener("candle", this.onCandle);
      this.feeds.set(symbol, feed);
    }
  }

  #candle(candle) {
    for (const line of this.of(candle.symbol)) {
      const known = step(line, this.known.get(line.id), candle);
      const turned = this.known.get(line.id)?.armed !== known.armed;
      this.known.set(line.id, known);
      if (known.crossed) this.dispatchEvent(new CustomEvent("crossed", { detail: { line, candle } }));
      if (turned) this.dispatchEvent(new Event("change"));
    }
  }
}

/** The page's price lines. */
export const priceLines = new PriceLines();
