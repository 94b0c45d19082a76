// What joins the chart to its feed: every tick goes into its series, a hole or a lost connection is
// healed from history, and it is told how long after its publishing each tick was painted.

import { acquire, release } from "./feed.js";
import { afterPaint } from "./latency.js";

const HEAL_EVERY_MS = 1000; // at most; a slow reader skips many revisions

export class Link {
  /** `chart` has series, counts, paints, closed, mustRender and changed(). */
  constructor(chart) {
    this.chart = chart;
    this.feed = null;
    this.listeners = {
      candle: (event) => this.#tick(event.detail),
      state: () => (this.lost ||= !this.feed.connected),
      gap: () => this.#heal(),
      gaps: () => chart.changed(),
    };
  }

  /** Leave the feed that it is on for another one. */
  to(symbol, interval) {
    this.close();
    this.feed = acquire(symbol, interval);
    for (const [name, listener] of Object.entries(this.listeners)) this.feed.addEventListener(name, listener);
  }

  close() {
    if (!this.feed) return;
    for (const [name, listener] of Object.entries(this.listeners)) this.feed.removeEventListener(name, listener);
    release(this.feed);
    this.feed = null;
  }

  /** The server's clock, in ms. */
  get now() {
    return Date.now() + (this.feed?.clockOffsetMs ?? 0);
  }

  /** Gaps in what the feed saw of this market: [from_ms, to_ms, reason]. */
  get gaps() {
    return this.feed?.gaps ?? [];
  }

  /** A frame has been drawn: when it is on the screen, tell how old its newest tick is. */
  drawn() {
    const { newest, feed, chart } = this;
    this.newest = null;
    if (!newest?.fresh) return;
    afterPaint(() => {
      chart.paints.push([newest.seq, newest.published_at_ms, Date.now()]);
      if (chart.paints.length > 500) chart.paints.shift();
      feed?.painted([newest]);
    });
  }

  #tick(candle) {
    const { chart } = this;
    chart.counts.ticks += 1;
    const effect = chart.series.apply(candle);
    if (effect === "hole" || this.lost) this.#heal();
    this.lost = false;
    if (effect === "closed" || effect === "hole") chart.mustRender = true;
    this.newest = candle;
    chart.changed();
  }

  async #heal() {
    if (this.healing) return;
    this.healing = true;
    const { chart } = this;
    const { series } = chart;
    chart.counts.heals += 1;
    try {
      await series.heal();
    } catch {
      this.lost = true; // the next tick tries again
    }
    await new Promise((resolve) => setTimeout(resolve, HEAL_EVERY_MS));
    this.healing = false;
    if (series !== chart.series || chart.closed) return;
    chart.mustRender = true;
    chart.changed();
  }
}
