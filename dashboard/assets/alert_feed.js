// The alerts that this page knows, newest first: one WebSocket to /ws/alerts, shared by the bell, the
// list and the chart's marks. The final alert on a window takes the place of the provisional one.

import { keyOf } from "./alert_words.js";
import { base, Channel } from "./channel.js";

export const KEEP = 1000;

class AlertFeed extends EventTarget {
  /** Events: "alert" (detail: {alert, was, missed}) for each that is news, "change" for any change. */
  constructor() {
    super();
    this.list = [];
    this.byKey = new Map();
    this.version = 0;
    this.began = false; // the first snapshot has come
    this.channel = new Channel("ws/alerts");
    this.channel.addEventListener("frame", ({ detail }) => this.#read(detail));
    this.channel.addEventListener("state", () => this.#changed());
  }

  get connected() {
    return this.channel.connected;
  }

  close() {
    this.channel.close();
  }

  /** Read up to KEEP older ones from the server, once a page; answers when they are here. */
  history() {
    this.past ??= this.#fetch("").catch(() => (this.past = null)); // whoever asks next tries again
    return this.past;
  }

  #read(frame) {
    if (frame.type === "initial_data") this.#snapshot([frame.data ?? []].flat());
    else if (frame.type === "alert") this.#take({ ...frame.data, heard_ms: Date.now() }, false);
    this.#changed();
  }

  /** The newest ones, after connecting. What came while we were away is news, what was before is not. */
  #snapshot(alerts) {
    const newest = this.list[0]?.triggered_at_ms ?? 0;
    const missing = alerts.length > 1 && this.began && alerts.every((alert) => !this.byKey.has(keyOf(alert)));
    for (const alert of [...alerts].reverse()) {
      if (this.began) this.#take(alert, true);
      else this.#put(alert);
    }
    this.began = true;
    if (missing) this.#fetch(`&since=${newest}`).catch(() => {}); // more came than a snapshot holds
  }

  #take(alert, missed) {
    const was = this.byKey.get(keyOf(alert));
    if (this.#put(alert)) this.dispatchEvent(new CustomEvent("alert", { detail: { alert, was, missed } }));
  }

  async #fetch(query) {
    const answer = await fetch(`${base}api/alerts?limit=${KEEP}${query}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`/api/alerts answered ${answer.status}`);
    for (const alert of (await answer.json()).alerts) this.#put(alert);
    this.#changed();
  }

  /** Whether `alert` told anything new. */
  #put(alert) {
    const known = this.byKey.get(keyOf(alert));
    if (known && !isNewer(alert, known)) return false;
    if (known) this.list.splice(this.list.indexOf(known), 1);
    let index = 0;
    while (index < this.list.length && this.list[index].triggered_at_ms > alert.triggered_at_ms) index += 1;
    this.list.splice(index, 0, alert);
    this.byKey.set(keyOf(alert), alert);
    for (const old of this.list.splice(KEEP)) this.byKey.delete(keyOf(old));
    this.version += 1;
    return true;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function isNewer(alert, known) {
  if (known.provisional !== alert.provisional) return Boolean(known.provisional);
  return alert.triggered_at_ms > known.triggered_at_ms;
}

let shared;
/** The page's alerts. The socket lives as long as the page: every page shows toasts. */
export function alertFeed() {
  return (shared ??= new AlertFeed());
}
