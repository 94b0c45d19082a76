// The live chart: a Plotly figure made in Python, kept moving by the page's own feed.

import { ChartAlerts } from "./chart_alerts.js";
import { mounted, useToken } from "./feed.js";
import { Drawing, points } from "./figure.js";
import { listenToPlot, listenToStage } from "./hand.js";
import { keepLabelsInside } from "./labels.js";
import { Link } from "./link.js";
import { Overlay } from "./overlay.js";
import { loadPlotly } from "./plot.js";
import { Series } from "./series.js";
import { Toolbar } from "./toolbar.js";
import { View, formatTime, timeLeft } from "./view.js";

const PLOT_CONFIG = { displayModeBar: false, scrollZoom: true, doubleClick: false, responsive: false };

class LiveChart {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "cc-chart";
    this.root.innerHTML = `<div class="cc-toolbar"></div>
      <div class="cc-stage" tabindex="0" role="figure"><div class="cc-plot"></div><canvas></canvas></div>`;
    parent.append(this.root);
    this.stage = this.root.querySelector(".cc-stage");
    this.plot = this.root.querySelector(".cc-plot");
    this.overlay = new Overlay(this.root.querySelector("canvas"), this.plot);
    this.toolbar = new Toolbar(this.root.querySelector(".cc-toolbar"), this);
    this.cross = null;
    this.paints = []; // [seq, published_at_ms, painted_at_ms] of the newest ticks
    this.counts = { ticks: 0, frames: 0, renders: 0, heals: 0, mounts: 1 };
    this.root.chart = this; // for tests and benchmarks
    this.observer = new ResizeObserver(() => this.#resized());
    this.link = new Link(this);
    listenToStage(this.stage, this);
    this.alerts = new ChartAlerts(this);
  }

  /** Show what Python sent: a new market, or new settings for the same one. */
  async show(data) {
    this.Plotly = await loadPlotly(data.plotly);
    const other = data.symbol !== this.data?.symbol || data.interval !== this.data?.interval;
    this.data = data;
    const names = data.columns;
    const rows = data.rows.map((row) => Object.fromEntries(row.map((value, i) => [names[i], value])));
    if (other) {
      this.series = new Series(data.symbol, data.interval, data.width_ms);
      this.window = new View(data.width_ms);
      this.mustRender = true; // by its first candle, if there is none yet: the other market's axes are no use
    }
    this.window.decimals = data.decimals;
    this.series.merge(rows);
    this.toolbar.show(data);
    if (other) this.link.to(data.symbol, data.interval);
    this.#render();
    if (data.at && (other || data.at !== this.wentTo)) this.goTo(data.at);
    this.wentTo = data.at;
    this.observer.observe(this.stage);
  }

  close() {
    this.closed = true;
    this.observer.disconnect();
    this.alerts.close();
    this.link.close();
    if (this.Plotly) this.Plotly.purge(this.plot);
    this.root.remove();
  }

  /** Something on the screen is out of date: draw it in the next frame, once. */
  changed() {
    // A hidden tab gets no frames: ticks pile up in the series only, and one frame shows them all.
    this.frame ??= requestAnimationFrame(() => this.#frame());
  }

  #frame() {
    this.frame = null;
    if (this.closed) return;
    this.counts.frames += 1;
    if (this.mustRender || this.window.isLeftBy(this.series.last)) this.#render();
    else this.#paint();
    this.link.drawn();
  }

  // ---- drawing --------------------------------------------------------------------------

  get view() {
    return this.window.range;
  }

  /** Milliseconds added to every time before it is drawn: Plotly's dates have no time zone. */
  get shift() {
    return this.data.local_time ? -new Date().getTimezoneOffset() * 60_000 : 0;
  }

  get #drawing() {
    if (!this.drawing?.isOf(this.series, this.data)) this.drawing = new Drawing(this.series, this.data);
    return this.drawing;
  }

  /** Draw the closed candles with Plotly, then the open ones over it. */
  #render() {
    if (!this.series?.rows.length) return;
    this.mustRender = false;
    this.counts.renders += 1;
    this.window.fit(this.#drawing.rows, this.plot.clientWidth || 900);
    this.series.wantedFromMs = this.window.drawnFrom;
    const { layout } = this.data.figure;
    this.rendering = true;
    this.Plotly.react(this.plot, this.#traces(), { ...layout, ...this.window.axes(layout, this.shift) }, PLOT_CONFIG);
    this.rendering = false;
    keepLabelsInside(this.plot);
    if (!this.listening) listenToPlot(this.plot, this);
    this.listening = true;
    this.#paint();
    this.#describe();
  }

  #traces() {
    const { figure } = this.data;
    const times = figure.data[0].x;
    const at = (time) => Date.parse(`${time}Z`);
    const fresh = this.data !== this.drawnData;
    this.drawnData = this.data;
    if (fresh && !this.shift && times.length && at(times[0]) <= this.view[0]) {
      this.drawnUntilMs = at(times.at(-1));
      return this.#drawing.given(this.window.prices);
    }
    const { rows } = this.#drawing;
    const openMs = this.series.rows[this.series.firstOpen]?.open_time_ms ?? Infinity;
    const end = this.#drawing.after(openMs - 1);
    this.drawnUntilMs = end ? rows[end - 1].open_time_ms : 0;
    return this.#drawing.traces(this.window.firstNear(rows), end, this.shift, this.window.prices);
  }

  #paint() {
    if (!this.series?.rows.length || !this.plot._fullLayout) return;
    const { rows } = this.#drawing;
    const from = this.#drawing.after(this.drawnUntilMs);
    this.ends = this.#drawing.lines();
    const { last } = this.series;
    const { colors, decimals } = this.data;
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    const formatPrice = (price) => price.toLocaleString("en-US", digits);
    this.overlay.paint({
      rows: rows.slice(from),
      lines: this.ends.map((line) => ({ ...line, points: points(rows, line, from) })),
      price: last.close,
      rising: last.close >= last.open,
      label: formatPrice(last.close),
      left: last.is_closed ? "" : timeLeft(last.open_time_ms + this.series.widthMs - this.link.now),
      barMs: this.series.widthMs,
      shift: this.shift,
      style: this.data.chart_type === "line" ? "line" : "candles",
      colors,
      cross: this.cross,
      gaps: this.link.gaps,
      standIns: this.#drawing.standIns,
      formatPrice,
      formatTime: (time) => formatTime(time, this.data.interval),
    });
    this.toolbar.readout(this.#pointed(rows), rows, formatPrice);
    this.toolbar.state(this.window.following, this.window.picked);
    this.alerts.paint(rows);
  }

  /** Index of the row under the crosshair; the newest without one. */
  #pointed(rows) {
    if (!this.cross) return rows.length - 1;
    const { xaxis } = this.plot._fullLayout;
    const time = xaxis.p2l(this.cross.x - xaxis._offset) - this.shift;
    let index = rows.length - 1;
    while (index > 0 && rows[index].open_time_ms > time + this.series.widthMs / 2) index -= 1;
    return index;
  }

  #describe() {
    const { last } = this.series;
    this.stage.setAttribute(
      "aria-label",
      `${this.data.symbol}, ${this.series.rows.length} candles of ${this.data.interval}: last price ${last.close}, ` +
        `open ${last.open}, high ${last.high}, low ${last.low}. Arrow keys move the crosshair, plus and minus zoom, ` +
        "End follows the newest candle.",
    );
  }

  // ---- what a hand asks for -------------------------------------------------------------

  /** The view was moved: draw what is in it, and fetch what is not here yet. */
  viewMoved() {
    this.mustRender = true;
    this.changed();
    this.#loadOlder();
  }

  /** Go back to the newest candle and stay with it. */
  follow() {
    this.window.following = true;
    this.mustRender = true;
    this.changed();
  }

  /** Show the candle of `timeMs` in the middle, and stay there. */
  goTo(timeMs) {
    this.window.center(timeMs);
    this.viewMoved();
  }

  /** Show the newest `spanMs` milliseconds; null for everything that is loaded. */
  range(spanMs) {
    const held = this.series.last.open_time_ms - this.series.rows[0].open_time_ms;
    this.window.pick(spanMs, held + 2 * this.series.widthMs);
    this.viewMoved();
  }

  async #loadOlder() {
    const { series } = this;
    const from = this.window.wantedFrom(series.last.open_time_ms);
    if (this.loading || series.rows[0].open_time_ms <= from) return;
    this.loading = true;
    series.wantedFromMs = Math.min(series.wantedFromMs, from);
    try {
      while (series === this.series && series.rows[0].open_time_ms > from && (await series.older()));
    } catch {
      series.exhausted = false; // the next move of the hand tries again
    }
    this.loading = false;
    this.mustRender = true;
    this.changed();
  }

  #resized() {
    if (!this.plot._fullLayout) return;
    this.Plotly.Plots.resize(this.plot).then(() => this.changed());
    this.mustRender = true;
  }

  /** What is on the screen as a PNG, a data URL. */
  png() {
    const { layout, data } = this.#drawing.picture(this.window, this.shift);
    return this.Plotly.toImage({ data, layout }, { format: "png", width: 1600, height: 900 });
  }
}

export default async function (component) {
  useToken(component.data.token);
  const [chart, cleanup] = mounted(component.parentElement, () => new LiveChart(component.parentElement));
  await chart.show(component.data);
  return cleanup;
}
