// Any Plotly figure, redrawn in place when its data change.

import { base, mounted } from "./feed.js";
import { keepLabelsInside } from "./labels.js";

let plotly;
export function loadPlotly(url) {
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = base + url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("plotly.min.js could not be loaded"));
    document.head.append(script);
  });
  return plotly;
}

class Plot {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "cc-plot-box";
    this.root.setAttribute("role", "img");
    parent.append(this.root);
    this.observer = new ResizeObserver(() => this.Plotly && this.root._fullLayout && this.Plotly.Plots.resize(this.root));
    this.observer.observe(this.root);
  }

  async show({ figure, label, height, plotly: url }) {
    this.Plotly = await loadPlotly(url);
    this.root.style.height = `${height}px`;
    this.root.setAttribute("aria-label", label);
    const config = { displayModeBar: false, responsive: false };
    await this.Plotly.react(this.root, figure.data, { ...figure.layout, height, uirevision: "kept" }, config);
    if (figure.layout.xaxis) keepLabelsInside(this.root);
  }

  close() {
    this.observer.disconnect();
    this.Plotly?.purge(this.root);
    this.root.remove();
  }
}

export default async function (component) {
  const [plot, cleanup] = mounted(component.parentElement, () => new Plot(component.parentElement));
  await plot.show(component.data);
  return cleanup;
}
