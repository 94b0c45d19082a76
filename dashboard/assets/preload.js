// Loads Plotly while Python is still at work, so that the first chart need not wait for it.

import { loadPlotly } from "./plot.js";

export default function ({ data }) {
  loadPlotly(data.plotly).catch(() => {}); // the chart that needs it says so
}
