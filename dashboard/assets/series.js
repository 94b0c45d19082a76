// The candles of one chart, as the browser knows them: a sorted list that takes revisions in any
// order, tells a hole from silence, and can be healed from /api/candles. No drawing here.

import { base } from "./feed.js";

const KEEP = 2000; // rows at most, however far back someone looks
const KEEP_FEW = 600; // rows while only the newest are looked at; older ones are fetched again
const MOST_FLAT = 1000; // candles drawn for windows without trades

export class Series {
  constructor(symbol, interval, widthMs) {
    this.symbol = symbol;
    this.interval = interval;
    this.widthMs = widthMs;
    this.rows = [];
    this.epoch = 0;
    this.seq = 0;
    this.version = 0; // grows with every change of the rows
    this.exhausted = false; // nothing older in history
    this.wantedFromMs = Infinity; // rows older than this are not looked at
  }

  /** Index of the first row that may still change: everything before it is final. */
  get firstOpen() {
    let index = this.rows.length;
    while (index && !this.rows[index - 1].is_closed) index -= 1;
    return index;
  }

  get last() {
    return this.rows.at(-1);
  }

  /** Take many rows at once, e.g. a snapshot. Whatever is newer here stays. */
  merge(candles) {
    for (const candle of candles) this.#put(candle);
    for (const candle of candles) this.#note(candle);
    this.#trim();
  }

  /**
   * Take one revision. Answers what it did: "old" (nothing), "forming", "closed", or "hole" when
   * revisions were lost between the last one and this, so that a closed candle may be missing.
   */
  apply(candle) {
    const gap = this.#isGap(candle);
    const last = this.last;
    const self = last && candle.open_time_ms === last.open_time_ms;
    const waiting = this.rows.slice(-4, -1).some((row) => !row.is_closed);
    const changed = this.#put(candle);
    this.#note(candle);
    this.#trim();
    if (gap && (!self || waiting)) return "hole";
    if (!changed) return "old";
    return candle.is_closed ? "closed" : "forming";
  }

  /** Read the newest rows from the server's history and merge them. */
  async heal(limit = 500) {
    this.merge(await this.#fetch(`limit=${limit}`));
  }

  /** Read rows older than the first one; answers how many came. */
  async older(limit = 300) {
    if (this.exhausted || !this.rows.length || this.rows.length >= KEEP) return 0;
    const found = await this.#fetch(`limit=${limit}&before=${this.rows[0].open_time_ms}`);
    this.exhausted = found.length === 0;
    this.merge(found);
    return found.length;
  }

  async #fetch(query) {
    const path = `${base}api/candles/${encodeURIComponent(this.symbol)}`;
    const answer = await fetch(`${path}?interval=${this.interval}&${query}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`history answered ${answer.status}`);
    const body = await answer.json();
    return body.forming ? [...body.candles, body.forming] : body.candles;
  }

  #isGap(candle) {
    if (!this.seq || !candle.seq) return !this.seq;
    return candle.epoch !== this.epoch || candle.seq > this.seq + 1;
  }

  #note(candle) {
    if (candle.epoch < this.epoch) return;
    this.seq = candle.epoch > this.epoch ? candle.seq : Math.max(this.seq, candle.seq);
    this.epoch = candle.epoch;
  }

  #put(candle) {
    let index = this.rows.length;
    while (index && this.rows[index - 1].open_time_ms > candle.open_time_ms) index -= 1;
    const known = this.rows[index - 1];
    if (known?.open_time_ms !== candle.open_time_ms) {
      this.rows.splice(index, 0, candle);
      this.version += 1;
      return true;
    }
    if (!isNewer(candle, known)) return false;
    this.version += 1;
    this.rows[index - 1] = candle;
    return true;
  }

  #trim() {
    let spare = Math.max(0, this.rows.length - KEEP);
    while (this.rows.length - spare > KEEP_FEW && this.rows[spare].open_time_ms < this.wantedFromMs) spare += 1;
    if (!spare) return;
    this.rows.splice(0, spare);
    this.exhausted = false;
  }
}

function isNewer(candle, known) {
  if (known.is_closed && !candle.is_closed) return false; // closed is final
  if (candle.source === "exchange") return known.source !== "exchange"; // history has reason to prefer it
  if (candle.epoch !== known.epoch) return candle.epoch > known.epoch;
  return candle.seq > known.seq || (candle.is_closed && !known.is_closed);
}

/**
 * Rows with a flat one (at the previous close, without volume) for each window without trades:
 * at most `most` of them, the newest ones. The same rule as dashboard/chart.py's fill_gaps; a
 * browser test holds the two together.
 */
export function fillGaps(rows, widthMs, most = MOST_FLAT) {
  const filled = [];
  let left = most;
  for (let index = rows.length - 1; index >= 0; index -= 1) {
    const row = rows[index];
    const next = rows[index + 1];
    let time = next ? next.open_time_ms - widthMs : 0;
    for (; left > 0 && time > row.open_time_ms; time -= widthMs, left -= 1) filled.push(flat(row, time));
    filled.push(row);
  }
  return filled.reverse();
}

function flat(before, time) {
  const price = before.close;
  return {
    open_time_ms: time, open: price, high: price, low: price, close: price,
    volume: 0, quote_volume: 0, taker_buy_volume: 0, trade_count: 0, is_closed: true,
  };
}
