// The strip above the chart: what the crosshair points at, ranges, follow, exports.

import { base } from "./feed.js";
import { gapAt } from "./provenance.js";

export class Toolbar {
  constructor(root, chart) {
    this.root = root;
    this.chart = chart;
    root.innerHTML = `<div class="cc-readout" aria-hidden="true"></div>
      <div class="cc-buttons" role="toolbar" aria-label="Chart">
        <span class="cc-ranges"></span>
        <button type="button" data-do="follow" title="Follow the newest candle (End)">Follow</button>
        <button type="button" data-do="csv" title="Save the closed candles as CSV">CSV</button>
        <button type="button" data-do="png" title="Save the chart as PNG">PNG</button>
      </div>`;
    this.line = root.querySelector(".cc-readout");
    this.ranges = root.querySelector(".cc-ranges");
    root.addEventListener("click", (event) => this.#click(event.target.closest("button")));
  }

  show(data) {
    this.data = data;
    const key = JSON.stringify(data.ranges);
    if (key === this.shownRanges) return;
    this.shownRanges = key;
    this.ranges.replaceChildren(
      ...data.ranges.map(([label, spanMs]) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = label;
        button.dataset.span = spanMs ?? "";
        button.title = spanMs ? `The newest ${label}` : "Everything that is loaded";
        return button;
      }),
    );
  }

  /** Whether the chart follows the newest candle, and which range was picked (`data-span`), if any. */
  state(following, picked) {
    this.root.querySelector("[data-do=follow]").setAttribute("aria-pressed", following);
    for (const each of this.ranges.children) each.setAttribute("aria-pressed", each.dataset.span === picked);
  }

  /** Words for the candle at `index`, and the indicators' values there. */
  readout(index, rows, price) {
    const row = rows[index];
    const before = rows[index - 1]?.close ?? row.open;
    const change = ((row.close - before) / before) * 100;
    const tone = change >= 0 ? "up" : "down";
    const time = new Date(row.open_time_ms + this.chart.shift).toISOString();
    const clock = time.slice(11, this.data.interval === "1s" ? 19 : 16);
    const parts = [
      `<b>${clock}</b>`,
      ...["open", "high", "low", "close"].map((name) => `<span><i>${name[0].toUpperCase()}</i> ${price(row[name])}</span>`),
      `<span><i>Vol</i> ${compact(row.volume)}</span>`,
      `<span class="${tone}">${signed(change)}%</span>`,
      ...(this.chart.ends ?? []).filter((line) => line.name).map((line) => this.#indicator(line, index, price)),
    ];
    if (!row.trade_count) parts.push("<span>no trades</span>");
    parts.push(...this.#provenance(row));
    const html = parts.join("");
    if (html !== this.shownHtml) this.line.innerHTML = this.shownHtml = html;
  }

  #provenance(row) {
    const parts = [];
    if (row.source === "exchange") parts.push('<span class="cc-stand-in">from the exchange\'s own history</span>');
    const gap = gapAt(row, this.data.width_ms, this.chart.link.gaps);
    if (!gap) return parts;
    const [from, to] = gap.slice(0, 2).map((ms) => new Date(ms + this.chart.shift).toISOString().slice(11, 19));
    return [...parts, `<span class="cc-gap">gap ${from} to ${to}: ${escaped(gap[2])}</span>`];
  }

  #indicator(line, index, price) {
    const value = line.all[index];
    const text = value === null || value === undefined ? "–" : line.axis === "y3" ? value.toFixed(1) : price(value);
    return `<span class="cc-indicator"><i style="color:${line.color}">${line.name}</i> ${text}</span>`;
  }

  #click(button) {
    if (!button) return;
    if (button.dataset.do === "follow") this.chart.follow();
    else if (button.dataset.do === "csv") this.#csv();
    else if (button.dataset.do === "png") this.#png();
    else if (button.dataset.span !== undefined) {
      this.chart.range(button.dataset.span ? Number(button.dataset.span) : null);
    }
  }

  #csv() {
    // From the server, which has every digit; the numbers here are floats.
    const { symbol, interval } = this.data;
    save(`${base}export/${encodeURIComponent(symbol)}.csv?interval=${interval}`, `${this.#name()}.csv`);
  }

  async #png() {
    save(await this.chart.png(), `${this.#name()}.png`);
  }

  #name() {
    return `${this.data.symbol}-${this.data.interval}`;
  }
}

export function compact(value) {
  return value.toLocaleString("en-US", { notation: "compact", maximumSignificantDigits: 4 });
}

/** With its sign, unless it is rounded to nothing. */
function signed(percent) {
  const text = Math.abs(percent).toFixed(2);
  return Number(text) ? `${percent > 0 ? "+" : "−"}${text}` : text;
}

function escaped(text) {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function save(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}
