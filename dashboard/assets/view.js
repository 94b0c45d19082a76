// What part of the candles is in view: a stretch of time that follows the newest candle until a
// hand leaves it, and the prices and volumes in it.

/** A time as Plotly's date text: it would move a number by the browser's time zone. */
export function plotlyTime(timeMs) {
  return new Date(timeMs).toISOString().slice(0, -1);
}

/** A time as a person reads it, as exact as candles of `interval` need. */
export function formatTime(time, interval) {
  const text = new Date(time).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, interval === "1s" ? 19 : 16)}`;
}

/** `12:34` or `1:02:03`; empty where it is over, or too short to be read. */
export function timeLeft(ms) {
  if (ms < 1000) return "";
  const text = new Date(ms).toISOString();
  return ms >= 3_600_000 ? text.slice(12, 19) : text.slice(14, 19);
}

const RIGHT_GAP = 0.04; // part of the width kept free right of the newest candle
const FEWEST = 24; // candles across, however few there are
const BAR_PIXELS = 9;

export class View {
  constructor(widthMs) {
    this.widthMs = widthMs;
    this.following = true;
    this.spanMs = null; // null: as many candles as fit well
    this.picked = null; // the range button that it shows: its milliseconds as text, "" for all
    this.range = null; // [from, to] in ms
    this.prices = [0, 1];
    this.volumeTop = 1;
    this.decimals = 2; // of the prices
  }

  /** Show the newest `spanMs`; null for all, which is `allMs`. */
  pick(spanMs, allMs) {
    this.spanMs = spanMs ?? allMs;
    this.picked = String(spanMs ?? "");
    this.following = true;
  }

  /** Fit to `rows` on a plot `pixels` wide: the stretch of time, and what it holds. */
  fit(rows, pixels) {
    if (this.following || !this.range) this.range = this.#newest(rows, pixels);
    const [from, to] = this.range;
    const visible = rows.filter((row) => row.open_time_ms >= from - this.widthMs && row.open_time_ms <= to);
    const some = visible.length ? visible : rows.slice(-1);
    const high = Math.max(...some.map((row) => row.high));
    const low = Math.min(...some.map((row) => row.low));
    const space = (high - low || high * 0.001) * 0.08;
    this.prices = [low - space, high + space];
    this.volumeTop = Math.max(...some.map((row) => row.volume), 1e-12) * 1.15;
  }

  /** Whether `row`, the newest, can no longer be shown without fitting again. */
  isLeftBy(row) {
    if (!this.range) return false;
    if (this.following && row.open_time_ms + this.widthMs > this.range[1]) return true;
    const outside = row.high > this.prices[1] || row.low < this.prices[0] || row.volume > this.volumeTop;
    return outside && row.open_time_ms <= this.range[1];
  }

  /** A hand moved the view to `range`; it goes on following if `newestMs` is still in it. */
  move(range, newestMs) {
    this.picked = null;
    this.range = range;
    this.spanMs = range[1] - range[0];
    this.following = newestMs >= range[0] && newestMs <= range[1];
  }

  /** Put `timeMs` in the middle and leave the newest candle, even where it can be seen. */
  center(timeMs) {
    this.picked = null;
    // A market's first candle may come after the wish to see it.
    const span = this.range ? this.range[1] - this.range[0] : FEWEST * this.widthMs;
    this.spanMs = span;
    this.range = [timeMs - span / 2, timeMs + span / 2];
    this.following = false;
  }

  /** Zoom about the right end. */
  zoom(factor) {
    this.picked = null;
    const [from, to] = this.range;
    this.spanMs = (to - from) * factor;
    this.range = [to - this.spanMs, to];
  }

  /** Time from which candles are wanted, `newestMs` being that of the newest. */
  wantedFrom(newestMs) {
    return this.following ? newestMs - (this.spanMs ?? 0) : this.range[0];
  }

  /** Time from which candles are drawn: one view's width before the view, to pan into. */
  get drawnFrom() {
    const [from, to] = this.range;
    return from - (to - from);
  }

  /** Index of the first of `rows` worth drawing. */
  firstNear(rows) {
    return Math.max(0, rows.findIndex((row) => row.open_time_ms >= this.drawnFrom));
  }

  /** Axes of a figure's `layout` for this view; `shift` is added to every time. */
  axes(layout, shift) {
    const [from, to] = this.range;
    return {
      xaxis: { ...layout.xaxis, range: [plotlyTime(from + shift), plotlyTime(to + shift)] },
      yaxis: { ...layout.yaxis, range: this.prices, tickformat: `,.${this.decimals}f` },
      // Not 20m for 0.020: thousandths look like millions.
      yaxis2: { ...layout.yaxis2, range: [0, this.volumeTop], tickformat: this.volumeTop < 1000 ? ",~f" : "~s" },
    };
  }

  #newest(rows, pixels) {
    const wanted = this.spanMs ?? Math.max(FEWEST, Math.floor(pixels / BAR_PIXELS)) * this.widthMs;
    const held = rows.at(-1).open_time_ms - rows[0].open_time_ms + 2 * this.widthMs;
    // No empty space on the left for times that history does not have.
    const span = Math.min(wanted, Math.max(held * (1 + RIGHT_GAP), FEWEST * this.widthMs));
    const to = rows.at(-1).open_time_ms + this.widthMs + span * RIGHT_GAP;
    return [to - span, to];
  }
}
