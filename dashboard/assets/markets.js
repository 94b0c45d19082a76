// The table of all markets. Python sends its rows when the doorbell rings; prices move with every
// tick in between, from the feed of all symbols.

import { drawing } from "./cards.js";
import { acquire, mounted, release, useToken } from "./feed.js";

const COLUMNS = [
  ["symbol", "Market"], ["price", "Price"], ["hour", "1 h"], ["day", "24 h"],
  ["volume", "Volume, 24 h"], ["range", "Low to high, 24 h"], ["spark", "Last hour"],
];

class Markets {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "cc-markets";
    this.root.innerHTML = `<table><thead><tr></tr></thead><tbody></tbody></table>`;
    parent.append(this.root);
    this.body = this.root.querySelector("tbody");
    this.rows = new Map();
    this.sort = { by: "volume", down: true };
    this.#head();
    this.feed = acquire("ALL", "1m");
    this.onCandle = (event) => this.#tick(event.detail);
    this.feed.addEventListener("candle", this.onCandle);
    this.body.addEventListener("click", (event) => this.#open(event));
  }

  update({ rows }, trigger) {
    this.trigger = trigger;
    for (const row of rows) this.#row(row);
    for (const [symbol, held] of this.rows) {
      if (rows.some((row) => row.symbol === symbol)) continue;
      held.element.remove();
      this.rows.delete(symbol);
    }
    this.#order();
  }

  close() {
    this.feed.removeEventListener("candle", this.onCandle);
    release(this.feed);
    this.root.remove();
  }

  #head() {
    const head = this.root.querySelector("thead tr");
    head.replaceChildren(
      ...COLUMNS.map(([name, label]) => {
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.className = `cc-col-${name}`;
        if (name === "spark" || name === "range") cell.textContent = label;
        else {
          const button = document.createElement("button");
          button.type = "button";
          button.textContent = label;
          button.addEventListener("click", () => this.#sortBy(name));
          cell.append(button);
        }
        return cell;
      }),
    );
  }

  #sortBy(name) {
    this.sort = { by: name, down: this.sort.by === name ? !this.sort.down : name !== "symbol" };
    this.#order();
  }

  #order() {
    const { by, down } = this.sort;
    const sign = down ? -1 : 1;
    const held = [...this.rows.values()];
    const value = ({ row }) => row[by] ?? -Infinity;
    held.sort((a, b) => sign * (value(a) > value(b) ? 1 : value(a) < value(b) ? -1 : 0));
    held.forEach(({ element }, place) => {
      if (this.body.children[place] !== element) this.body.insertBefore(element, this.body.children[place]);
    });
    COLUMNS.forEach(([name], index) => {
      const sorted = name === by ? (down ? "descending" : "ascending") : "none";
      this.root.querySelectorAll("th")[index].setAttribute("aria-sort", sorted);
    });
  }

  #row(row) {
    const held = this.rows.get(row.symbol) ?? this.#add(row);
    held.row = { ...row, price: held.row.price ?? row.price };
    const [, price, hour, day, volume, range, spark] = held.element.children;
    this.#price(held, row.price);
    void price;
    change(hour, row.hour);
    change(day, row.day);
    volume.textContent = row.volume_text;
    const place = row.high > row.low ? (100 * (row.price - row.low)) / (row.high - row.low) : 50;
    range.firstChild.style.setProperty("--place", `${place}%`);
    range.title = `${row.low_text} to ${row.high_text}`;
    const name = JSON.stringify(row.spark);
    if (held.spark !== name && row.spark.length > 1) spark.replaceChildren(drawing(row.spark));
    held.spark = name;
  }

  #add(row) {
    const element = document.createElement("tr");
    element.innerHTML = `<td class="cc-col-symbol"><a></a></td><td class="cc-col-price"></td><td class="cc-col-hour"></td>
      <td class="cc-col-day"></td><td class="cc-col-volume"></td><td class="cc-col-range"><span class="cc-range"></span></td>
      <td class="cc-col-spark"></td>`;
    const link = element.querySelector("a");
    link.href = `./?symbol=${encodeURIComponent(row.symbol)}`;
    link.textContent = row.name;
    element.dataset.symbol = row.symbol;
    this.body.append(element);
    const held = { element, row: {}, places: row.places };
    this.rows.set(row.symbol, held);
    return held;
  }

  #tick(candle) {
    const held = this.rows.get(candle.symbol);
    if (!held || candle.open_time_ms < (held.openTimeMs ?? 0)) return;
    held.openTimeMs = candle.open_time_ms;
    held.pending = candle.close;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      for (const each of this.rows.values()) {
        if (each.pending !== undefined) this.#price(each, each.pending);
        each.pending = undefined;
      }
    });
  }

  #price(held, price) {
    const cell = held.element.children[1];
    const options = { minimumFractionDigits: held.places, maximumFractionDigits: held.places };
    const text = price.toLocaleString("en-US", options);
    if (text === cell.textContent) return;
    const before = held.row.price;
    held.row.price = price;
    cell.textContent = text;
    if (before === undefined || before === price) return;
    const style = getComputedStyle(document.documentElement);
    const color = style.getPropertyValue(price > before ? "--cc-up" : "--cc-down");
    cell.getAnimations().forEach((animation) => animation.cancel());
    cell.animate([{ color, backgroundColor: `color-mix(in srgb, ${color} 13%, transparent)` }, {}], { duration: 600, easing: "ease-out" });
  }

  #open(event) {
    const row = event.target.closest("tr");
    if (!row || event.ctrlKey || event.metaKey || event.button) return; // a new tab follows the link
    event.preventDefault();
    this.trigger("open", row.dataset.symbol);
  }
}

function change(cell, value) {
  cell.classList.remove("up", "down");
  if (value === null) {
    cell.textContent = "–";
    cell.title = "history does not reach back so far";
    return;
  }
  cell.title = "";
  cell.classList.add(value >= 0 ? "up" : "down");
  cell.textContent = `${value >= 0 ? "▲ +" : "▼ −"}${Math.abs(100 * value).toFixed(2)}%`;
}

export default function (component) {
  useToken(component.data.token);
  const [markets, cleanup] = mounted(component.parentElement, () => new Markets(component.parentElement));
  markets.update(component.data, component.setTriggerValue);
  return cleanup;
}
