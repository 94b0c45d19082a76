// Traces of the chart. Python makes the figure (dashboard/chart.py) and its first drawing; when
// candles close or the view moves, the same traces are filled here from the rows.

import { heikinAshi, lines } from "./indicators.js";
import { fillGaps } from "./series.js";
import { plotlyTime } from "./view.js";

/** The rows of a series as they are drawn, with the indicators over them; made once a version. */
export class Drawing {
  constructor(series, data) {
    this.series = series;
    this.data = data;
    this.version = series.version;
    const filled = data.fill_gaps ? fillGaps(series.rows, series.widthMs) : series.rows;
    this.rows = data.chart_type === "heikin-ashi" ? heikinAshi(filled) : filled;
    this.known = new Map();
    /** Open times of the candles that the exchange's own history stands in for. */
    this.standIns = this.rows.filter((row) => row.source === "exchange").map((row) => row.open_time_ms);
  }

  isOf(series, data) {
    return this.series === series && this.data === data && this.version === series.version;
  }

  /** Values of one trace that is a line, one a row. */
  values({ role, spec, line }) {
    if (role === "line") return this.rows.map((row) => row.close);
    const name = JSON.stringify(spec);
    if (!this.known.has(name)) this.known.set(name, lines(spec, this.rows));
    return this.known.get(name)[line];
  }

  /** Index of the first row after `timeMs`. */
  after(timeMs) {
    let index = this.rows.length;
    while (index && this.rows[index - 1].open_time_ms > timeMs) index -= 1;
    return index;
  }

  /** The figure's traces with the rows from `start` to before `end`; `prices` is the range in view. */
  traces(start, end, shift, prices) {
    const drawn = this.rows.slice(start, end);
    const x = drawn.map((row) => plotlyTime(row.open_time_ms + shift));
    return this.data.figure.data.map((trace) => {
      const { role } = trace.meta;
      if (role === "candles") return { ...trace, x, ...columns(drawn, ["open", "high", "low", "close"]) };
      if (role === "volume") return { ...trace, x, y: columns(drawn, ["volume"]).volume, marker: this.#marker(trace, drawn) };
      return faded({ ...trace, x, y: this.values(trace.meta).slice(start, end) }, prices);
    });
  }

  /** The traces as Python sent them. */
  given(prices) {
    return this.data.figure.data.map((trace) => faded(trace, prices));
  }

  /** The lines among the traces: for the overlay and the readout. */
  lines() {
    return this.data.figure.data
      .filter(({ meta }) => meta.role === "indicator" || meta.role === "line")
      .map((trace) => ({
        name: trace.name,
        axis: trace.meta.role === "line" ? "price" : (trace.yaxis ?? "y"),
        color: trace.line.color,
        width: trace.line.width,
        dash: trace.line.dash === "dot",
        all: this.values(trace.meta),
      }));
  }

  /** A figure that is whole without the overlay, for a picture file. */
  picture(view, shift) {
    const { colors, symbol, interval, figure } = this.data;
    return {
      data: this.traces(view.firstNear(this.rows), this.rows.length, shift, view.prices),
      layout: {
        ...figure.layout,
        ...view.axes(figure.layout, shift),
        paper_bgcolor: colors.bg,
        title: { text: `${symbol} ${interval}`, x: 0.02, font: { color: colors.text } },
        margin: { l: 20, r: 80, t: 50, b: 40 },
      },
    };
  }

  #marker(trace, drawn) {
    const { upVolume, downVolume } = this.data.colors;
    return { ...trace.marker, color: drawn.map((row) => (row.close >= row.open ? upVolume : downVolume)) };
  }
}

/** The last drawn point of a line and everything after it. */
export function points(rows, line, from) {
  const start = Math.max(0, from - 1);
  return rows.slice(start).map((row, index) => [row.open_time_ms, line.all[start + index]]);
}

function columns(rows, names) {
  return Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name])]));
}

/** A line's area fades over the prices in view, not over all down to zero. */
function faded(trace, [start, stop]) {
  return trace.fillgradient ? { ...trace, fillgradient: { ...trace.fillgradient, start, stop } } : trace;
}
