// From the trade to the screen, as this browser measures it: two histograms with their quantiles.

import { mounted } from "./feed.js";
import { latencies } from "./latency.js";

const BOUNDS_MS = [5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 250, 500];
const KINDS = [
  ["traded", "Trade to painted", 250, "no trade of a write that was painted is known yet"],
  ["published", "Published to painted", 100, "nothing was painted yet"],
];

class TradeToScreen {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "cc-latencies";
    parent.append(this.root);
    this.parts = KINDS.map(([kind, title, healthy, none]) => {
      const root = document.createElement("section");
      root.innerHTML = `<h4>${title}</h4><p class="cc-quantiles"></p>
        <div class="cc-bins" role="img">${[...BOUNDS_MS, ""].map(() => "<span><i></i><em></em></span>").join("")}</div>`;
      root.querySelectorAll(".cc-bins em").forEach((label, i) => (label.textContent = BOUNDS_MS[i] ? `≤ ${BOUNDS_MS[i]}` : `> ${BOUNDS_MS.at(-1)}`));
      this.root.append(root);
      return { kind, title, healthy, none, root };
    });
  }

  update({ written, clock_offset_ms: offset }) {
    latencies.match(written, offset);
    for (const part of this.parts) show(part, latencies[part.kind]);
  }

  close() {
    this.root.remove();
  }
}

function show({ root, title, healthy, none }, values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => Math.round(at(share)));
  const words = root.querySelector(".cc-quantiles");
  root.dataset.count = sorted.length;
  root.dataset.health = sorted.length ? (p95 <= healthy ? "good" : "warn") : "idle";
  if (!sorted.length) words.textContent = none;
  else {
    words.innerHTML = `<b>p50</b> ${p50} ms <b>p95</b> <strong>${p95} ms</strong> <b>p99</b> ${p99} ms
      <small>of ${sorted.length.toLocaleString("en-US")}; healthy: p95 below ${healthy} ms</small>`;
  }
  const bins = new Array(BOUNDS_MS.length + 1).fill(0);
  for (const value of sorted) bins[(BOUNDS_MS.findIndex((bound) => value <= bound) + bins.length) % bins.length] += 1;
  const most = Math.max(...bins, 1);
  root.querySelectorAll(".cc-bins i").forEach((bar, i) => {
    bar.style.height = `${(100 * bins[i]) / most}%`;
    bar.title = `${bins[i]} ticks`;
  });
  const label = sorted.length ? `${title}: half within ${p50} ms, 95% within ${p95} ms, 99% within ${p99} ms` : `${title}: ${none}`;
  root.querySelector(".cc-bins").setAttribute("aria-label", label);
}

export default function (component) {
  const [panel, cleanup] = mounted(component.parentElement, () => new TradeToScreen(component.parentElement));
  panel.update(component.data);
  return cleanup;
}
