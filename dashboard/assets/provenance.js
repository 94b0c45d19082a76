// Where the candles come from, as it is seen on the chart: stretches in which the feed saw gaps, and
// candles that the exchange's own history stands in for.

const SHADE = "rgba(245,184,61,0.10)";
const EDGE = "rgba(245,184,61,0.55)";
const STAND_IN = "rgba(90,169,247,0.75)";

/** Shade `gaps` ([from_ms, to_ms, reason]) over the panes from `top` to `bottom`. */
export function paintGaps(context, gaps, { x, box, top, bottom }) {
  for (const [fromMs, toMs] of gaps) {
    const left = Math.max(box.left, x(fromMs));
    const right = Math.min(box.left + box.width, x(toMs));
    if (right < box.left || left > box.left + box.width) continue;
    const width = Math.max(3, right - left);
    context.fillStyle = SHADE;
    context.fillRect(left, top, width, bottom - top);
    context.fillStyle = EDGE;
    context.fillRect(left, top, width, 2);
    context.font = "600 10px 'Source Sans', system-ui, sans-serif";
    context.textBaseline = "top";
    context.fillText("gap", left + 3, top + 5);
  }
}

/** A thin line below the candles of `times` (open times) that came from the exchange. */
export function paintStandIns(context, times, { x, bottom, barWidth }) {
  context.fillStyle = STAND_IN;
  for (const time of times) context.fillRect(x(time) - barWidth / 2 - 1, bottom - 2, barWidth + 2, 2);
}

/** The gap that touches the candle of `row`, if any. */
export function gapAt(row, widthMs, gaps) {
  return gaps.find(([fromMs, toMs]) => fromMs < row.open_time_ms + widthMs && toMs >= row.open_time_ms);
}
