// The form of the live page that sets a price line: opened from the toolbar, or by a click on the
// price axis, which fills it in.

import { alertSettings } from "./alert_settings.js";
import { element, price as words } from "./alert_words.js";
import { priceLines } from "./price_lines.js";

export class LineForm {
  /** `chart` has root, data, series. */
  constructor(chart) {
    this.chart = chart;
    this.button = element("button", "", "Price line");
    this.button.type = "button";
    this.button.dataset.do = "line";
    this.button.title = "Tell me when the price is above or below one that I choose";
    this.button.setAttribute("aria-expanded", false);
    this.box = element("form", "cc-line-form");
    this.box.noValidate = true;
    this.box.hidden = true;
    this.box.innerHTML = `<p>Tell me when <b></b> is</p>
      <div class="cc-line-row">
        <span class="cc-sides" role="radiogroup" aria-label="Side">
          <label><input type="radio" name="side" value="above"><span>▲ above</span></label>
          <label><input type="radio" name="side" value="below"><span>▼ below</span></label>
        </span>
        <input name="price" inputmode="decimal" autocomplete="off" aria-label="Price">
        <button type="submit">Set</button>
      </div>
      <p class="cc-line-wrong" role="alert"></p>
      <ul></ul>`;
    chart.root.querySelector("[data-do=follow]").after(this.button);
    chart.root.append(this.box);
    this.button.addEventListener("click", () => (this.box.hidden ? this.open() : this.#shut()));
    this.box.addEventListener("submit", (event) => this.#submit(event));
    this.box.addEventListener("input", ({ target }) => target.name === "price" && this.#sideOf(Number(target.value)));
    this.box.addEventListener("click", ({ target }) => target.dataset.line && alertSettings.removeLine(target.dataset.line));
    this.onKey = (event) => event.key === "Escape" && this.#shut();
    this.onDown = ({ target }) => this.box.contains(target) || target === this.button || this.#shut();
    this.onChange = () => this.#list();
    this.box.addEventListener("keydown", this.onKey);
    document.addEventListener("pointerdown", this.onDown);
    priceLines.addEventListener("change", this.onChange);
  }

  close() {
    document.removeEventListener("pointerdown", this.onDown);
    priceLines.removeEventListener("change", this.onChange);
    this.box.remove();
    this.button.remove();
  }

  /** Open it, with `price` or the present one filled in. */
  open(price = this.#now) {
    const { decimals, symbol } = this.chart.data;
    this.box.hidden = false;
    this.button.setAttribute("aria-expanded", true);
    this.box.querySelector("b").textContent = symbol;
    this.box.price.value = price.toFixed(decimals);
    this.#sideOf(price);
    this.#wrong("");
    this.#list();
    this.box.price.focus();
    this.box.price.select();
  }

  get #now() {
    return this.chart.series.last.close;
  }

  #shut() {
    if (this.box.hidden) return;
    const had = this.box.contains(document.activeElement);
    this.box.hidden = true;
    this.button.setAttribute("aria-expanded", false);
    if (had) this.button.focus();
  }

  /** Where the price is on one side of the line, the other side is what one waits for. */
  #sideOf(price) {
    if (price > 0) this.box.side.value = price >= this.#now ? "above" : "below";
  }

  #submit(event) {
    event.preventDefault();
    try {
      const text = this.box.price.value.trim().replaceAll(",", "");
      alertSettings.addLine(this.chart.data.symbol, text, this.box.side.value, this.#now);
      this.#shut();
    } catch (error) {
      this.#wrong(error.message);
      this.box.price.focus();
    }
  }

  #wrong(why) {
    this.box.querySelector(".cc-line-wrong").textContent = why;
  }

  #list() {
    if (this.box.hidden) return;
    this.box.querySelector("ul").replaceChildren(
      ...priceLines.of(this.chart.data.symbol).map((line) => {
        const item = element("li", "", `${line.side} ${words(line.price)}`);
        const remove = element("button", "", "Remove");
        remove.type = "button";
        remove.dataset.line = line.id;
        item.append(remove);
        return item;
      }),
    );
  }
}
