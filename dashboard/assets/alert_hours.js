// Alerts by hour: one column for each of the last 24 hours, stacked by severity.

import { element, SEVERITIES } from "./alert_words.js";

const HOUR_MS = 3_600_000;
const HOURS = 24;

/** Counts of `alerts` in the last HOURS hours, oldest first: {fromMs, LOW, MEDIUM, HIGH, total}. Pure. */
export function byHour(alerts, nowMs, shiftMs = 0) {
  const lastMs = Math.floor((nowMs + shiftMs) / HOUR_MS) * HOUR_MS - shiftMs;
  const hours = Array.from({ length: HOURS }, (_, index) => ({
    fromMs: lastMs - (HOURS - 1 - index) * HOUR_MS, LOW: 0, MEDIUM: 0, HIGH: 0, total: 0,
  }));
  for (const { triggered_at_ms: timeMs, severity } of alerts) {
    const hour = hours[Math.floor((timeMs - hours[0].fromMs) / HOUR_MS)];
    if (!hour) continue;
    hour[severity] += 1;
    hour.total += 1;
  }
  return hours;
}

export class HourBars {
  constructor(parent) {
    this.root = element("figure", "cc-hours");
    this.root.innerHTML = `<figcaption><b>By hour</b>
      <span class="cc-legend"><i class="high"></i>high <i class="medium"></i>medium <i class="low"></i>low</span></figcaption><ol></ol>`;
    parent.append(this.root);
    this.caption = this.root.querySelector("b");
    this.columns = this.root.querySelector("ol");
    this.columns.append(...Array.from({ length: HOURS }, column));
  }

  /** Hours before `knownSinceMs` are hatched: what happened in them is no longer held. */
  show(alerts, { local, knownSinceMs }) {
    const shiftMs = local ? new Date().getTimezoneOffset() * -60_000 : 0;
    const hours = byHour(alerts, Date.now(), shiftMs);
    const key = JSON.stringify([hours, local, knownSinceMs]);
    if (key === this.shownKey) return;
    this.shownKey = key;
    const most = Math.max(4, ...hours.map(({ total }) => total));
    this.caption.textContent = `By hour, last 24 hours${local ? "" : ", UTC"}`;
    hours.forEach((hour, index) => {
      const from = new Date(hour.fromMs + shiftMs).toISOString().slice(11, 16);
      fill(this.columns.children[index], hour, { most, from, unknown: hour.fromMs + HOUR_MS <= knownSinceMs });
    });
  }
}

function column() {
  const item = document.createElement("li");
  item.innerHTML = `<span class="cc-hour-count"></span><span class="cc-hour-bar"><i class="high"></i><i class="medium"></i><i class="low"></i></span>
    <small></small>`;
  return item;
}

function fill(item, hour, { most, from, unknown }) {
  const words = SEVERITIES.filter((each) => hour[each]).map((each) => `${hour[each]} ${each.toLowerCase()}`);
  const text = unknown ? "no longer held" : `${hour.total} ${hour.total === 1 ? "alert" : "alerts"}${words.length ? `: ${words.reverse().join(", ")}` : ""}`;
  item.title = `From ${from}: ${text}`;
  item.className = unknown ? "unknown" : "";
  const [count, bar, time] = item.children;
  count.textContent = hour.total || "";
  for (const part of bar.children) part.style.height = `${(100 * hour[part.className.toUpperCase()]) / most}%`;
  time.textContent = from.slice(0, 2);
}
