// Indicators over rows of candles: the same rules as dashboard/indicators.py, so that the forming
// candle moves them at every tick. A browser test compares the two, value by value.
// Every function answers one value a row; null where there are not enough rows yet.

const closes = (rows) => rows.map((row) => row.close);

export function sma(values, length) {
  let sum = 0;
  return values.map((value, index) => {
    sum += value - (index >= length ? values[index - length] : 0);
    return index >= length - 1 ? sum / length : null;
  });
}

export function ema(values, length) {
  const weight = 2 / (length + 1);
  let state = null;
  return values.map((value, index) => {
    if (index < length - 1) return null;
    if (state === null) state = values.slice(0, length).reduce((a, b) => a + b, 0) / length;
    else state += weight * (value - state);
    return state;
  });
}

export function bollinger(values, length, width) {
  const middle = sma(values, length);
  const spread = values.map((_, index) => {
    if (middle[index] === null) return null;
    const window = values.slice(index - length + 1, index + 1);
    return Math.sqrt(window.reduce((sum, value) => sum + (value - middle[index]) ** 2, 0) / length);
  });
  const at = (sign) => middle.map((value, i) => (value === null ? null : value + sign * width * spread[i]));
  return [at(1), middle, at(-1)];
}

/** Volume-weighted average price, anchored at the first row of each UTC day. */
export function vwap(rows) {
  let day = null;
  let quote = 0;
  let volume = 0;
  return rows.map((row) => {
    const today = Math.floor(row.open_time_ms / 86_400_000);
    if (today !== day) [day, quote, volume] = [today, 0, 0];
    quote += row.quote_volume;
    volume += row.volume;
    return volume > 0 ? quote / volume : null;
  });
}

/** Relative strength index, 0 to 100, with Wilder's smoothing. */
export function rsi(values, length) {
  let gain = 0;
  let loss = 0;
  return values.map((value, index) => {
    if (!index) return null;
    const change = value - values[index - 1];
    const weight = index <= length ? index : length;
    gain += (Math.max(change, 0) - gain) / weight;
    loss += (Math.max(-change, 0) - loss) / weight;
    if (index < length) return null;
    return gain + loss > 0 ? (100 * gain) / (gain + loss) : 50;
  });
}

/** Lines of one indicator, in the order of its traces. `spec`: {kind, length, width}. */
export function lines(spec, rows) {
  if (spec.kind === "sma") return [sma(closes(rows), spec.length)];
  if (spec.kind === "ema") return [ema(closes(rows), spec.length)];
  if (spec.kind === "bollinger") return bollinger(closes(rows), spec.length, spec.width);
  if (spec.kind === "vwap") return [vwap(rows)];
  if (spec.kind === "rsi") return [rsi(closes(rows), spec.length)];
  throw new Error(`unknown indicator ${spec.kind}`);
}

/** Heikin-Ashi rows: averaged candles, the open half-way along the body before. */
export function heikinAshi(rows) {
  let before = null;
  return rows.map((row) => {
    const close = (row.open + row.high + row.low + row.close) / 4;
    const open = before ? (before.open + before.close) / 2 : (row.open + row.close) / 2;
    before = { ...row, open, close, high: Math.max(row.high, open, close), low: Math.min(row.low, open, close) };
    return before;
  });
}
