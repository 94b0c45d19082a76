// What a hand does to the chart: pointer, wheel, keys.

/** Listen to the stage; `chart` has cross, view, series, plot, changed(), viewMoved() and follow(). */
export function listenToStage(stage, chart) {
  stage.addEventListener("pointermove", (event) => {
    const box = stage.getBoundingClientRect();
    chart.cross = { x: event.clientX - box.left, y: event.clientY - box.top };
    chart.changed();
  });
  stage.addEventListener("pointerleave", () => {
    chart.cross = null;
    chart.changed();
  });
  stage.addEventListener("dblclick", () => chart.follow());
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !press(event.key, chart)) return;
    event.preventDefault();
    chart.changed();
  });
}

/** Listen to Plotly's own pan and zoom; they also speak up when we draw, which is no hand. */
export function listenToPlot(plot, chart) {
  const moved = () => {
    if (chart.rendering) return false;
    const { xaxis } = plot._fullLayout;
    const range = xaxis.range.map((value) => xaxis.r2l(value) - chart.shift);
    chart.window.move(range, chart.series.last.open_time_ms);
    chart.changed();
    return true;
  };
  plot.on("plotly_relayouting", moved);
  plot.on("plotly_relayout", (change) => !change?.autosize && moved() && chart.viewMoved()); // a resize is no hand
}

function press(key, chart) {
  if (key === "ArrowLeft" || key === "ArrowRight") step(key === "ArrowLeft" ? -1 : 1, chart);
  else if (key === "+" || key === "-") {
    chart.window.zoom(key === "+" ? 0.7 : 1 / 0.7);
    chart.viewMoved();
  } else if (key === "End") chart.follow();
  else if (key === "Escape") chart.cross = null;
  else return false;
  return true;
}

/** Move the crosshair by whole candles. */
function step(by, chart) {
  const axis = chart.plot._fullLayout?.xaxis;
  if (!axis) return;
  const width = axis.l2p(chart.view[0] + chart.series.widthMs) - axis.l2p(chart.view[0]);
  chart.cross ??= { x: axis._offset + axis._length / 2, y: null };
  chart.cross = { x: chart.cross.x + by * width, y: chart.cross.y };
}
