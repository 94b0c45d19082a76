// The pipeline as a moving picture: stations joined by lanes, on which dots run as fast as data do.

import { mounted } from "./feed.js";

class Pipeline {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "cc-flow";
    this.root.setAttribute("role", "list");
    parent.append(this.root);
    this.stations = [];
    this.lanes = [];
  }

  update({ stations, lanes }) {
    if (this.stations.length !== stations.length) this.#build(stations, lanes);
    stations.forEach((station, index) => this.#station(this.stations[index], station));
    lanes.forEach((lane, index) => this.#lane(this.lanes[index], lane));
  }

  close() {
    this.root.remove();
  }

  #build(stations, lanes) {
    this.stations = stations.map(() => Object.assign(document.createElement("section"), { className: "cc-station" }));
    this.lanes = lanes.map(() => Object.assign(document.createElement("div"), { className: "cc-lane" }));
    for (const station of this.stations) station.setAttribute("role", "listitem");
    for (const lane of this.lanes) {
      lane.innerHTML = `<span class="cc-rate"></span><div class="cc-track">${"<i></i>".repeat(8)}</div>`;
      lane.setAttribute("aria-hidden", "true");
    }
    this.root.replaceChildren(...this.stations.flatMap((station, i) => (this.lanes[i] ? [station, this.lanes[i]] : [station])));
  }

  #station(element, { name, health, figures }) {
    element.dataset.health = health;
    const rows = figures.map(({ label, value, health: state, hint }) => {
      const row = document.createElement("div");
      row.className = "cc-figure";
      row.dataset.health = state;
      row.title = hint;
      for (const [tag, text] of [["span", label], ["b", value], ["small", hint]]) {
        row.append(Object.assign(document.createElement(tag), { textContent: text }));
      }
      return row;
    });
    const title = Object.assign(document.createElement("h3"), { textContent: name });
    const words = { good: "healthy", warn: "look here", bad: "broken", idle: "idle" };
    const state = Object.assign(document.createElement("em"), { textContent: words[health] });
    title.append(state);
    element.replaceChildren(title, ...rows);
  }

  #lane(element, { rate, text }) {
    element.querySelector(".cc-rate").textContent = text;
    const dots = element.querySelectorAll("i");
    const shown = rate > 0 ? Math.min(dots.length, 1 + Math.round(Math.log10(1 + rate) * 2)) : 0;
    const seconds = 2.4 / Math.max(1, Math.log10(1 + rate));
    dots.forEach((dot, index) => {
      dot.hidden = index >= shown;
      const duration = `${seconds.toFixed(1)}s`;
      if (dot.style.animationDuration !== duration || dot.dataset.of !== String(shown)) {
        dot.style.animationDuration = duration;
        dot.style.animationDelay = `${((-index * seconds) / Math.max(1, shown)).toFixed(2)}s`;
        dot.dataset.of = shown;
      }
    });
  }
}

export default function (component) {
  const [pipeline, cleanup] = mounted(component.parentElement, () => new Pipeline(component.parentElement));
  pipeline.update(component.data);
  return cleanup;
}
