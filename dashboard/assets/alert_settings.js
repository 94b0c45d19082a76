// What a person has set in this session: toasts muted, browser notifications, price lines. It is
// changed here at once and kept in Python (st.session_state), where the newest version wins.

import { priceLines } from "./price_lines.js";

export const MOST_LINES = 20;

class AlertSettings extends EventTarget {
  /** Event: "change". */
  constructor() {
    super();
    this.version = 0;
    this.muted = false;
    this.notify = false;
  }

  /** What Python keeps. It is older than ours while an answer is on its way, and then it is passed over. */
  receive({ version, muted, notify, lines }, send) {
    this.send = send;
    if (version <= this.version) return;
    this.version = version;
    this.#apply({ muted, notify, lines });
  }

  /** Change some of `muted`, `notify` and `lines`. */
  change(some, prices) {
    this.version += 1;
    this.#apply(some, prices);
    const { version, muted, notify } = this;
    this.send?.({ version, muted, notify, lines: priceLines.lines });
  }

  /** Set a price line; `now` is the present price. Throws with the reason where it cannot be. */
  addLine(symbol, text, side, now) {
    const price = Number(text);
    if (!/^\d+(\.\d+)?$/.test(text) || !(price > 0)) throw new Error(`“${text}” is no price: write digits, such as 65250.5`);
    const { lines } = priceLines;
    if (lines.some((line) => line.symbol === symbol && line.price === price && line.side === side)) return;
    if (lines.length >= MOST_LINES) throw new Error(`${MOST_LINES} price lines are set: remove one first`);
    const id = `${Date.now()}-${Math.random().toString(36).slice(2, 8)}`;
    this.change({ lines: [...lines, { id, symbol, side, price }] }, { [id]: now });
  }

  removeLine(id) {
    this.change({ lines: priceLines.lines.filter((line) => line.id !== id) });
  }

  #apply({ muted = this.muted, notify = this.notify, lines }, prices) {
    this.muted = muted;
    this.notify = notify;
    if (lines) priceLines.set(lines, prices);
    this.dispatchEvent(new Event("change"));
  }
}

/** The session's settings. */
export const alertSettings = new AlertSettings();
