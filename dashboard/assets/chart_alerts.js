// Alerts on the live chart: a mark on each candle that set one off, and the session's price lines as
// dashed lines. They are elements over the figure, so that they can be pointed at, focused and read.

import { alertFeed } from "./alert_feed.js";
import { alertSettings } from "./alert_settings.js";
import { clock, element, isBelow, mark, move, name, price, rank, severity, standing } from "./alert_words.js";
import { LineForm } from "./line_form.js";
import { priceLines } from "./price_lines.js";

const GAP = 7; // pixels between a candle and its mark
const MARK = 18;

export class ChartAlerts {
  /** `chart` has stage, plot, data, series, rows, shift, changed() and goTo(). */
  constructor(chart) {
    this.chart = chart;
    this.root = element("div", "cc-chart-alerts");
    this.marks = element("div", "cc-marks");
    this.marks.setAttribute("role", "group");
    this.lines = element("div", "cc-lines");
    this.axis = element("button", "cc-axis");
    this.axis.type = "button";
    this.axis.tabIndex = -1; // the keyboard has the button in the toolbar
    this.axis.title = "Click to set a price line here";
    this.axis.setAttribute("aria-label", this.axis.title);
    this.root.append(this.lines, this.marks, this.axis);
    chart.stage.append(this.root);
    this.form = new LineForm(chart);
    this.feed = alertFeed();
    this.shownMarks = new Map(); // open time of the candle -> {box, alerts}
    this.shownLines = new Map(); // id -> box
    this.onChange = () => chart.series && chart.changed();
    this.onGo = (event) => this.#go(event);
    this.sources = [[this.feed, "change"], [priceLines, "change"]];
    for (const [source, type] of this.sources) source.addEventListener(type, this.onChange);
    document.addEventListener("candlecast-go", this.onGo);
    this.axis.addEventListener("click", (event) => this.form.open(this.#priceAt(event.clientY)));
    this.feed.history();
  }

  close() {
    for (const [source, type] of this.sources) source.removeEventListener(type, this.onChange);
    document.removeEventListener("candlecast-go", this.onGo);
    this.form.close();
    this.root.remove();
  }

  /** Put everything where the chart is now. Cheap where nothing moved: it runs with every tick. */
  paint(rows) {
    const full = this.chart.plot._fullLayout;
    if (!full?.xaxis || !this.chart.series) return;
    this.full = full;
    this.#paintMarks(rows);
    this.#paintLines();
    const { xaxis, yaxis } = full;
    const left = xaxis._offset + xaxis._length;
    place(this.axis, `left:${left}px;top:${yaxis._offset}px;width:${full.width - left}px;height:${yaxis._length}px`);
  }

  // ---- marks ----------------------------------------------------------------------------

  #paintMarks(rows) {
    const wanted = this.#byCandle();
    for (const [time, { box }] of this.shownMarks) {
      if (wanted.has(time)) continue;
      box.remove();
      this.shownMarks.delete(time);
    }
    const { xaxis, yaxis } = this.full;
    const extremes = new Map(rows.filter((row) => wanted.has(row.open_time_ms)).map((row) => [row.open_time_ms, row]));
    let inView = 0;
    for (const [time, alerts] of wanted) {
      const held = this.#mark(time, alerts);
      const row = extremes.get(time);
      const x = xaxis.l2p(time + this.chart.shift);
      held.box.hidden = !row || x < 0 || x > xaxis._length;
      if (held.box.hidden) continue;
      inView += 1;
      const below = isBelow(alerts[0]);
      const inside = below ? yaxis.l2p(row.low) + GAP : yaxis.l2p(row.high) - GAP - MARK;
      const y = yaxis._offset + Math.min(yaxis._length - MARK, Math.max(0, inside));
      // Its words hang as far to the left as it stands to the right: so they stay on the chart.
      const aside = `--aside:${-Math.round((100 * x) / xaxis._length)}%`;
      place(held.box, `transform:translate(${Math.round(xaxis._offset + x - MARK / 2)}px,${Math.round(y)}px);${aside}`);
    }
    const words = `Alerts on the candles in view: ${inView || "none"}`;
    if (this.words !== words) this.marks.setAttribute("aria-label", (this.words = words));
  }

  /** Open time -> alerts on that candle, the gravest first. */
  #byCandle() {
    const { symbol, width_ms: widthMs } = this.chart.data;
    const key = `${symbol} ${widthMs} ${this.feed.version}`;
    if (this.candlesKey === key) return this.candles;
    this.candlesKey = key;
    this.candles = new Map();
    for (const alert of this.feed.list) {
      if (alert.symbol !== symbol) continue;
      const time = Math.floor(alert.window_start_ms / widthMs) * widthMs;
      this.candles.set(time, [...(this.candles.get(time) ?? []), alert].sort((a, b) => rank(b) - rank(a)));
    }
    return this.candles;
  }

  #mark(time, alerts) {
    const held = this.shownMarks.get(time) ?? { box: this.#addMark() };
    this.shownMarks.set(time, held);
    if (held.alerts === alerts && held.shift === this.chart.shift) return held;
    held.alerts = alerts;
    held.shift = this.chart.shift;
    const [first] = alerts;
    const words = alerts.map((alert) => sentence(alert, this.chart.data.local_time));
    held.box.className = `cc-mark ${severity(first)} ${isBelow(first) ? "below" : ""}`;
    held.box.firstChild.textContent = mark(first);
    held.box.dataset.time = time;
    held.box.setAttribute("aria-label", words.join(". "));
    held.box.lastChild.replaceChildren(...words.map((each) => element("span", "", each)));
    return held;
  }

  #addMark() {
    const box = element("button", "cc-mark");
    box.type = "button";
    const bubble = element("span", "cc-mark-words");
    bubble.setAttribute("aria-hidden", "true"); // the button's label says the same
    box.append(element("b", ""), bubble);
    this.marks.append(box);
    return box;
  }

  // ---- price lines ----------------------------------------------------------------------

  #paintLines() {
    const lines = priceLines.of(this.chart.data.symbol);
    for (const [id, box] of this.shownLines) {
      if (lines.some((line) => line.id === id)) continue;
      box.remove();
      this.shownLines.delete(id);
    }
    const { xaxis, yaxis } = this.full;
    for (const line of lines) {
      const box = this.shownLines.get(line.id) ?? this.#addLine(line);
      const inside = yaxis.l2p(line.price);
      const y = yaxis._offset + Math.min(yaxis._length, Math.max(0, inside));
      box.classList.toggle("beyond", inside < 0 || inside > yaxis._length);
      box.classList.toggle("resting", !priceLines.isArmed(line));
      place(box, `transform:translateY(${Math.round(y)}px);left:${xaxis._offset}px;width:${xaxis._length}px`);
    }
  }

  #addLine(line) {
    const words = `${line.side} ${price(line.price)}`;
    const box = element("div", "cc-price-line");
    box.dataset.line = line.id;
    const tag = element("span", "", `${line.side === "above" ? "▲" : "▼"} ${words}`);
    const remove = element("button", "", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove the price line ${words}`);
    remove.addEventListener("click", () => alertSettings.removeLine(line.id));
    tag.append(remove);
    box.append(tag);
    this.lines.append(box);
    this.shownLines.set(line.id, box);
    return box;
  }

  #priceAt(clientY) {
    const { yaxis } = this.full;
    return yaxis.p2l(clientY - this.chart.stage.getBoundingClientRect().top - yaxis._offset);
  }

  #go(event) {
    const { symbol, at } = event.detail;
    const { data } = this.chart;
    if (symbol !== data?.symbol || data.width_ms < 60_000) return; // seconds do not reach back far
    event.preventDefault();
    this.chart.goTo(at);
  }
}

/** "HIGH price spike +10.21% at 14:03:00 (provisional): the alert's own message". */
function sentence(alert, local) {
  const is = standing(alert);
  return (
    `${alert.severity} ${name(alert).toLowerCase()} ${move(alert)} at ${clock(alert.window_start_ms, local)}` +
    `${is ? ` (${is})` : ""}: ${alert.message}`
  );
}

function place(box, style) {
  if (box.placed !== style) box.style.cssText = box.placed = style;
}
