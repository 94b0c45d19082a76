// The live chart: a Plotly figure made in Python, kept moving by the page's own feed.

import { acquire, mounted, release } from "./feed.js";
import { heikinAshi, lines } from "./indicators.js";
import { Overlay } from "./overlay.js";
import { loadPlotly } from "./plot.js";
import { fillGaps, Series } from "./series.js";
import { Toolbar } from "./toolbar.js";

const HEAL_EVERY_MS = 1000; // at most; a slow reader skips many revisions
const RIGHT_GAP = 0.04; // part of the width kept free right of the newest candle
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
    this.following = true;
    this.paints = []; // [seq, published_at_ms, painted_at_ms] of the newest ticks
    this.counts = { ticks: 0, frames: 0, renders: 0, heals: 0, mounts: 1 };
    this.root.chart = this; // for tests and benchmarks
    this.observer = new ResizeObserver(() => this.#resized());
    this.onCandle = (event) => this.#tick(event.detail);
    this.onState = () => this.#state();
    this.onGap = () => this.#heal();
    this.#listenToPointer();
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
      this.following = true;
      this.spanMs = null;
    }
    this.series.merge(rows);
    this.toolbar.show(data);
    if (other) this.#subscribe();
    this.#render();
    this.observer.observe(this.stage);
  }

  close() {
    this.closed = true;
    this.observer.disconnect();
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
    this.#soon();
  }

  /** Something on the screen is out of date: draw it in the next frame, once. */
  #soon() {
    // A hidden tab gets no frames: ticks pile up in the series only, and one frame shows them all.
    this.frame ??= requestAnimationFrame(() => this.#frame());
  }

  #frame() {
    this.frame = null;
    if (this.closed) return;
    this.counts.frames += 1;
    if (this.mustRender || this.#leavesView()) this.#render();
    else this.#paint();
    this.#measure();
  }

  #measure() {
    const candle = this.newest;
    if (!candle) return;
    this.newest = null;
    const channel = new MessageChannel(); // its message comes after this frame was painted
    channel.port1.onmessage = () => {
      const age = this.feed?.age(candle) ?? 0;
      this.paints.push([candle.seq, candle.published_at_ms, Date.now()]);
      if (this.paints.length > 5000) this.paints.shift();
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
    this.#soon();
  }

  // ---- the figure -----------------------------------------------------------------------

  /** The rows as drawn: gaps filled, Heikin-Ashi averaged. */
  #shown() {
    const { series, data, cache } = this;
    if (cache?.series !== series || cache.version !== series.version || cache.data !== data) {
      const filled = data.fill_gaps ? fillGaps(series.rows, series.widthMs) : series.rows;
      const rows = data.chart_type === "heikin-ashi" ? heikinAshi(filled) : filled;
      this.cache = { series, version: series.version, data, rows, lines: new Map() };
    }
    return this.cache.rows;
  }

  /** Index of the first of `rows` that Plotly has not drawn. */
  #firstOpen(rows) {
    let index = rows.length;
    while (index && rows[index - 1].open_time_ms > this.drawnUntilMs) index -= 1;
    return index;
  }

  #lines(spec, rows) {
    const name = JSON.stringify(spec);
    if (!this.cache.lines.has(name)) this.cache.lines.set(name, lines(spec, rows));
    return this.cache.lines.get(name);
  }

  /** Draw the closed candles with Plotly, then the open ones over it. */
  #render() {
    if (!this.series?.rows.length) return;
    this.mustRender = false;
    this.counts.renders += 1;
    const rows = this.#shown();
    const layout = { ...this.data.figure.layout, ...this.#ranges(rows) };
    const openMs = this.series.rows[this.series.firstOpen]?.open_time_ms ?? Infinity;
    const end = rows.findLastIndex((row) => row.open_time_ms < openMs) + 1;
    this.drawnUntilMs = end ? rows[end - 1].open_time_ms : 0;
    const traces = this.data.figure.data.map((trace) => this.#filled(trace, rows, this.#nearView(rows), end));
    this.rendering = true;
    this.Plotly.react(this.plot, traces, layout, PLOT_CONFIG);
    this.rendering = false;
    if (!this.listening) this.#listenToPlot();
    this.#paint();
    this.#describe();
  }

  /** Index of the first row worth drawing: one view's width before the view, to pan into. */
  #nearView(rows) {
    const [from, to] = this.view;
    const index = rows.findIndex((row) => row.open_time_ms >= from - (to - from));
    return Math.max(0, index);
  }

  /** `trace` with the rows from `start` to before `end`. */
  #filled(trace, rows, start, end) {
    const { role, spec, line } = trace.meta;
    const shift = this.shift;
    const drawn = rows.slice(start, end);
    const x = drawn.map((row) => row.open_time_ms + shift);
    if (role === "candles") {
      const column = (name) => drawn.map((row) => row[name]);
      return { ...trace, x, open: column("open"), high: column("high"), low: column("low"), close: column("close") };
    }
    if (role === "line") {
      const [start, stop] = this.yRange;
      return { ...trace, x, y: drawn.map((row) => row.close), fillgradient: { ...trace.fillgradient, start, stop } };
    }
    if (role === "volume") {
      const { colors } = this.data;
      const color = drawn.map((row) => (row.close >= row.open ? colors.upVolume : colors.downVolume));
      return { ...trace, x, y: drawn.map((row) => row.volume), marker: { ...trace.marker, color } };
    }
    return { ...trace, x, y: this.#lines(spec, rows)[line].slice(start, end) };
  }

  /** Milliseconds added to every time before it is drawn: Plotly's dates have no time zone. */
  get shift() {
    return this.data.local_time ? -new Date().getTimezoneOffset() * 60_000 : 0;
  }

  #ranges(rows) {
    const [from, to] = this.#window(rows);
    const visible = rows.filter((row) => row.open_time_ms >= from - this.series.widthMs && row.open_time_ms <= to);
    const some = visible.length ? visible : rows.slice(-1);
    const high = Math.max(...some.map((row) => row.high));
    const low = Math.min(...some.map((row) => row.low));
    const space = (high - low || high * 0.001) * 0.08;
    this.yRange = [low - space, high + space];
    this.volumeTop = Math.max(...some.map((row) => row.volume), 1e-12) * 1.15;
    const { layout } = this.data.figure;
    return {
      xaxis: { ...layout.xaxis, range: [from + this.shift, to + this.shift] },
      yaxis: { ...layout.yaxis, range: this.yRange },
      // Not 20m for 0.020: thousandths look like millions.
      yaxis2: { ...layout.yaxis2, range: [0, this.volumeTop], tickformat: this.volumeTop < 1000 ? ",~f" : "~s" },
    };
  }

  #window(rows) {
    if (!this.following && this.view) return this.view;
    const bars = Math.max(24, Math.floor((this.plot.clientWidth || 900) / 9));
    const wanted = this.spanMs ?? bars * this.series.widthMs;
    const held = rows.at(-1).open_time_ms - rows[0].open_time_ms + 2 * this.series.widthMs;
    // No empty space on the left for times that history does not have.
    const span = Math.min(wanted, Math.max(held * (1 + RIGHT_GAP), 24 * this.series.widthMs));
    const to = rows.at(-1).open_time_ms + this.series.widthMs + span * RIGHT_GAP;
    this.view = [to - span, to];
    return this.view;
  }

  #leavesView() {
    const { last } = this.series;
    if (!last || !this.view) return false;
    const visible = last.open_time_ms <= this.view[1];
    if (this.following && last.open_time_ms + this.series.widthMs > this.view[1]) return true;
    return visible && (last.high > this.yRange[1] || last.low < this.yRange[0] || last.volume > this.volumeTop);
  }

  // ---- the overlay ----------------------------------------------------------------------

  #paint() {
    if (!this.series?.rows.length || !this.plot._fullLayout) return;
    const rows = this.#shown();
    const open = rows.slice(this.#firstOpen(rows));
    const { last } = this.series;
    const { colors, decimals } = this.data;
    const formatPrice = (price) => price.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    this.overlay.paint({
      rows: open,
      lines: this.#ends(rows),
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
  }

  /** The last drawn point of each line and everything after it. */
  #ends(rows) {
    const from = Math.max(0, this.#firstOpen(rows) - 1);
    const times = rows.slice(from).map((row) => row.open_time_ms);
    const values = (trace) => {
      if (trace.meta.role === "line") return rows.map((row) => row.close);
      return this.#lines(trace.meta.spec, rows)[trace.meta.line];
    };
    this.ends = this.data.figure.data
      .filter((trace) => trace.meta.role === "indicator" || trace.meta.role === "line")
      .map((trace) => ({
        name: trace.name,
        axis: trace.meta.role === "line" ? "price" : (trace.yaxis ?? "y"),
        color: trace.line.color,
        width: trace.line.width,
        dash: trace.line.dash === "dot",
        all: values(trace),
      }));
    return this.ends.map((line) => ({ ...line, points: times.map((time, i) => [time, line.all[from + i]]) }));
  }

  #pointed(rows) {
    if (!this.cross) return rows.length - 1;
    const { xaxis } = this.plot._fullLayout;
    const time = xaxis.p2l(this.cross.x - xaxis._offset) - this.shift;
    const { widthMs } = this.series;
    let index = rows.length - 1;
    while (index > 0 && rows[index].open_time_ms > time + widthMs / 2) index -= 1;
    return index;
  }

  // ---- the hand -------------------------------------------------------------------------

  #listenToPointer() {
    this.stage.addEventListener("pointermove", (event) => {
      const box = this.stage.getBoundingClientRect();
      this.cross = { x: event.clientX - box.left, y: event.clientY - box.top };
      this.#soon();
    });
    this.stage.addEventListener("pointerleave", () => {
      this.cross = null;
      this.#soon();
    });
    this.stage.addEventListener("dblclick", () => this.follow());
    this.stage.addEventListener("keydown", (event) => this.#key(event));
  }

  #listenToPlot() {
    this.listening = true;
    const moved = () => {
      if (this.rendering) return;
      const range = this.plot._fullLayout.xaxis.range;
      const at = (value) => this.plot._fullLayout.xaxis.r2l(value) - this.shift;
      this.view = [at(range[0]), at(range[1])];
      this.spanMs = this.view[1] - this.view[0];
      this.following = this.#newestIsIn(this.view);
      this.#soon();
    };
    this.plot.on("plotly_relayouting", moved);
    this.plot.on("plotly_relayout", () => {
      moved();
      this.mustRender = !this.rendering;
      this.#loadOlder();
    });
  }

  #newestIsIn([from, to]) {
    const newest = this.series.last.open_time_ms;
    return newest >= from && newest <= to;
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && this.plot._fullLayout) {
      const { xaxis } = this.plot._fullLayout;
      const width = xaxis.l2p(this.series.widthMs + this.view[0]) - xaxis.l2p(this.view[0]);
      this.cross ??= { x: xaxis._offset + xaxis._length / 2, y: null };
      this.cross = { x: this.cross.x + step * width, y: this.cross.y };
    } else if (event.key === "+" || event.key === "-") this.#zoom(event.key === "+" ? 0.7 : 1 / 0.7);
    else if (event.key === "End") this.follow();
    else if (event.key === "Escape") this.cross = null;
    else return;
    event.preventDefault();
    this.#soon();
  }

  #zoom(factor) {
    const [from, to] = this.view;
    this.spanMs = (to - from) * factor;
    this.view = [to - this.spanMs, to];
    this.mustRender = true;
    this.#loadOlder();
  }

  /** Go back to the newest candle and stay with it. */
  follow() {
    this.following = true;
    this.mustRender = true;
    this.#soon();
  }

  /** Show the newest `spanMs` milliseconds; null for everything that is loaded. */
  range(spanMs) {
    const [first, last] = [this.series.rows[0], this.series.last];
    this.spanMs = spanMs ?? last.open_time_ms - first.open_time_ms + 2 * this.series.widthMs;
    this.follow();
    this.#loadOlder();
  }

  async #loadOlder() {
    const { series } = this;
    const from = this.following ? series.last.open_time_ms - (this.spanMs ?? 0) : this.view[0];
    if (this.loading || series.rows[0].open_time_ms <= from) return;
    this.loading = true;
    try {
      while (series === this.series && series.rows[0].open_time_ms > from && (await series.older()));
    } catch {
      series.exhausted = false; // the next move of the hand tries again
    }
    this.loading = false;
    this.mustRender = true;
    this.#soon();
  }

  #resized() {
    if (!this.plot._fullLayout) return;
    this.Plotly.Plots.resize(this.plot).then(() => this.#soon());
    this.mustRender = true;
  }

  /** The figure with everything that is on the screen, as a PNG of 1600 x 900. */
  async png() {
    const rows = this.#shown();
    const traces = this.data.figure.data.map((trace) => this.#filled(trace, rows, this.#nearView(rows), rows.length));
    const { bg } = this.data.colors;
    const title = { text: `${this.data.symbol} ${this.data.interval}`, x: 0.02, font: { color: this.data.colors.text } };
    const layout = { ...this.data.figure.layout, ...this.#ranges(rows), paper_bgcolor: bg, title, margin: { l: 20, r: 80, t: 50, b: 40 } };
    return this.Plotly.toImage({ data: traces, layout }, { format: "png", width: 1600, height: 900 });
  }

  #describe() {
    const { last } = this.series;
    const count = this.series.rows.length;
    const text = `${this.data.symbol}, ${count} candles of ${this.data.interval}: last price ${last.close}, open ${last.open}, ` +
      `high ${last.high}, low ${last.low}. Arrow keys move the crosshair, plus and minus zoom, End follows the newest candle.`;
    this.stage.setAttribute("aria-label", text);
  }
}

function formatTime(time, interval) {
  const text = new Date(time).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, interval === "1s" ? 19 : 16)}`;
}

export default async function (component) {
  const [chart, cleanup] = mounted(component.parentElement, () => new LiveChart(component.parentElement));
  await chart.show(component.data);
  return cleanup;
}
