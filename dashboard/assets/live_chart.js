// The live chart: a Plotly figure made in Python, kept moving by the page's own feed.

import { ChartAlerts } from "./chart_alerts.js";
import { acquire, mounted, release, useToken } from "./feed.js";
import { Drawing } from "./figure.js";
import { listenToPlot, listenToStage } from "./hand.js";
import { keepLabelsInside } from "./labels.js";
import { Overlay } from "./overlay.js";
import { loadPlotly } from "./plot.js";
import { Series } from "./series.js";
import { Toolbar } from "./toolbar.js";
import { View } from "./view.js";

const HEAL_EVERY_MS = 1000; // at most; a slow reader skips many revisions
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
    this.onCandle = (event) => this.#tick(event.detail);
    this.onState = () => this.#state();
    this.onGap = () => this.#heal();
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
    }
    this.series.merge(rows);
    this.toolbar.show(data);
    if (other) this.#subscribe();
    this.#render();
    if (data.at && (other || data.at !== this.wentTo)) this.goTo(data.at);
    this.wentTo = data.at;
    this.observer.observe(this.stage);
  }

  close() {
    this.closed = true;
    this.observer.disconnect();
    this.alerts.close();
    this.#unsubscribe();
    if (this.Plotly) this.Plotly.purge(this.plot);
    this.root.remove();
  }

  // ---- the feed -------------------------------------------------------------------------

  #subscribe() {
    this.#unsubscribe();
    this.feed = acquire(this.data.symbol, this.data.interval);
    this.feed.addEventListener("candle", this.onCandle);
    this.feed.addEventListener("state", this.onState);
    this.feed.addEventListener("gap", this.onGap);
  }

  #unsubscribe() {
    if (!this.feed) return;
    this.feed.removeEventListener("candle", this.onCandle);
    this.feed.removeEventListener("state", this.onState);
    this.feed.removeEventListener("gap", this.onGap);
    release(this.feed);
    this.feed = null;
  }

  #state() {
    if (!this.feed.connected) this.lostConnection = true;
  }

  #tick(candle) {
    this.counts.ticks += 1;
    const effect = this.series.apply(candle);
    if (effect === "hole" || this.lostConnection) this.#heal();
    this.lostConnection = false;
    if (effect === "closed" || effect === "hole") this.mustRender = true;
    this.newest = candle;
    this.changed();
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
    this.#measure();
  }

  #measure() {
    const candle = this.newest;
    this.newest = null;
    if (!candle?.fresh) return;
    const channel = new MessageChannel(); // its message comes after this frame was painted
    channel.port1.onmessage = () => {
      const age = this.feed?.age(candle) ?? 0;
      this.paints.push([candle.seq, candle.published_at_ms, Date.now()]);
      if (this.paints.length > 500) this.paints.shift();
      this.feed?.dispatchEvent(new CustomEvent("painted", { detail: age }));
    };
    channel.port2.postMessage(null);
  }

  async #heal() {
    if (this.healing) return;
    this.healing = true;
    this.counts.heals += 1;
    const { series } = this;
    try {
      await series.heal();
    } catch {
      this.lostConnection = true; // the next tick tries again
    }
    await new Promise((resolve) => setTimeout(resolve, HEAL_EVERY_MS));
    this.healing = false;
    if (series !== this.series || this.closed) return;
    this.mustRender = true;
    this.changed();
  }

  // ---- drawing --------------------------------------------------------------------------

  get view() {
    return this.window.range;
  }

  get following() {
    return this.window.following;
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
      barMs: this.series.widthMs,
      shift: this.shift,
      style: this.data.chart_type === "line" ? "line" : "candles",
      colors,
      cross: this.cross,
      formatPrice,
      formatTime: (time) => formatTime(time, this.data.interval),
    });
    this.toolbar.readout(this.#pointed(rows), rows, formatPrice);
    this.toolbar.following(this.following);
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
    this.window.spanMs = spanMs ?? held + 2 * this.series.widthMs;
    this.window.following = true;
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

  /** The figure with everything that is on the screen, as a PNG of 1600 x 900. */
  async png() {
    const { rows } = this.#drawing;
    const data = this.#drawing.traces(this.window.firstNear(rows), rows.length, this.shift, this.window.prices);
    const { colors, symbol, interval, figure } = this.data;
    const layout = {
      ...figure.layout,
      ...this.window.axes(figure.layout, this.shift),
      paper_bgcolor: colors.bg,
      title: { text: `${symbol} ${interval}`, x: 0.02, font: { color: colors.text } },
      margin: { l: 20, r: 80, t: 50, b: 40 },
    };
    return this.Plotly.toImage({ data, layout }, { format: "png", width: 1600, height: 900 });
  }
}

/** The last drawn point of a line and everything after it. */
function points(rows, line, from) {
  const start = Math.max(0, from - 1);
  return rows.slice(start).map((row, index) => [row.open_time_ms, line.all[start + index]]);
}

function formatTime(time, interval) {
  const text = new Date(time).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, interval === "1s" ? 19 : 16)}`;
}

export default async function (component) {
  useToken(component.data.token);
  const [chart, cleanup] = mounted(component.parentElement, () => new LiveChart(component.parentElement));
  await chart.show(component.data);
  return cleanup;
}
