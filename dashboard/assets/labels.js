// The labels of the axes. Plotly can hide those that its edge would cut, but it keeps the
// measures of every label it has ever looked at, up to 10,000 (3 MiB), and a chart that moves on has
// new ones at each candle. So its check is off (dashboard/chart.py), and ours measures nothing: a
// label too near to the left edge begins at its tick, the others are centred on theirs.

const HALF = 34; // pixels: of the widest, "Nov 23, 2026"

export function keepLabelsInside(plot) {
  const start = plot._fullLayout.xaxis._offset;
  for (const label of plot.querySelectorAll(".xtick text")) {
    const x = Number(/translate\(([-\d.]+)/.exec(label.getAttribute("transform"))?.[1] ?? HALF);
    label.style.textAnchor = x - start < HALF ? "start" : "middle";
  }
}

/** Hide the price labels whose middle lies between two heights: the last price's tag is there. */
export function makeRoom(plot, top, bottom) {
  for (const label of plot.querySelectorAll(".ytick text")) {
    const y = Number(/,\s*([-\d.]+)\)/.exec(label.getAttribute("transform"))?.[1] ?? -1);
    const wanted = y > top && y < bottom ? "hidden" : "";
    if (label.style.visibility !== wanted) label.style.visibility = wanted;
  }
}
