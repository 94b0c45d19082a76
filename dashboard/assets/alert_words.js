// Alerts as a person reads them: names, marks, numbers, times. Pure.

/** Type -> [mark, name, whether it is drawn below the candle]. */
const TYPES = {
  PRICE_SPIKE: ["▲", "Price spike", false],
  PRICE_DROP: ["▼", "Price drop", true],
  VOLUME_SURGE: ["▮", "Volume surge", false],
  BREAKOUT: ["◆", "Breakout", false],
  VOLATILITY: ["≈", "Volatility", false],
  STALE: ["◌", "Silence", true],
};
export const SEVERITIES = ["LOW", "MEDIUM", "HIGH"];

export const mark = ({ alert_type }) => TYPES[alert_type]?.[0] ?? "●";
export const name = ({ alert_type }) => TYPES[alert_type]?.[1] ?? alert_type;
export const isBelow = ({ alert_type }) => TYPES[alert_type]?.[2] ?? false;

/** What an alert is about. A provisional one and the final one on its window differ in their ids. */
export const keyOf = ({ symbol, alert_type, window_start_ms }) => `${symbol} ${alert_type} ${window_start_ms}`;

/** "high", "medium", "low": the word stands beside the colour everywhere. */
export const severity = (alert) => alert.severity.toLowerCase();
export const rank = (alert) => SEVERITIES.indexOf(alert.severity);

/** "+6.21%", with a true minus sign. */
export function move({ price_change_percent: percent }) {
  return `${percent < 0 ? "−" : "+"}${Math.abs(percent).toFixed(2)}%`;
}

/** Six significant figures, two decimals at least. */
export function price(value) {
  const digits = Math.max(2, Math.min(10, value > 0 ? 5 - Math.floor(Math.log10(value)) : 2));
  return value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: digits });
}

/** "just now", "12 s ago", "3 min ago", "2 h ago", "3 d ago". */
export function ago(timeMs, nowMs = Date.now()) {
  const seconds = Math.max(0, (nowMs - timeMs) / 1000);
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86_400)} d ago`;
}

/** "14:03:21", or "Nov 22, 14:03:21" where it was another day than now; in UTC, or as the clock on the wall. */
export function clock(timeMs, local, nowMs = Date.now()) {
  const shift = local ? new Date(timeMs).getTimezoneOffset() * -60_000 : 0;
  const [then, now] = [timeMs, nowMs].map((time) => new Date(time + shift).toISOString());
  const day = new Date(timeMs + shift).toLocaleDateString("en-US", { month: "short", day: "numeric", timeZone: "UTC" });
  return `${then.slice(0, 10) === now.slice(0, 10) ? "" : `${day}, `}${then.slice(11, 19)}`;
}

/**
 * What a provisional alert is: its candle goes on, or it closed without keeping the move. What is left of
 * the candle counts from when we heard of it: a replay's event times are long past.
 */
export function standing(alert, nowMs = Date.now()) {
  if (!alert.provisional) return "";
  const leftMs = alert.window_end_ms - alert.triggered_at_ms;
  return nowMs > (alert.heard_ms ?? alert.triggered_at_ms) + leftMs + 10_000 ? "not kept" : "provisional";
}

/** An element with a class and text; the text is never read as HTML. */
export function element(tag, className, text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}
