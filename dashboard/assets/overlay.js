// What moves with every tick is painted on a canvas over the Plotly figure: the candles that are
// still open, their volume, the ends of the indicators, the last price and the crosshair. Plotly
// itself draws only when a candle closes or the view changes, so a tick costs well under 1 ms and
// cannot disturb zoom, pan or hover.

import { makeRoom } from "./labels.js";
import { paintGaps, paintStandIns } from "./provenance.js";

export class Overlay {
  constructor(canvas, plot) {
    this.canvas = canvas;
    this.plot = plot;
  }

  /** Match the canvas to its box, in device pixels. */
  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.plot;
    if (this.canvas.width !== clientWidth * ratio || this.canvas.height !== clientHeight * ratio) {
      this.canvas.width = clientWidth * ratio;
      this.canvas.height = clientHeight * ratio;
    }
    this.context = this.canvas.getContext("2d");
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.width = clientWidth;
    this.height = clientHeight;
  }

  /**
   * Paint one frame. `scene`: rows (open candles as drawn), lines ([{axis, color, dash, points}]),
   * gaps and standIns (see provenance.js), price, rising, label, left (until the candle closes, in
   * words), barMs, shift (ms added to every time), style ("candles" or "line"), colors, cross ({x, y}
   * in pixels or null).
   */
  paint(scene) {
    const full = this.plot._fullLayout;
    if (!full?.xaxis) return;
    this.resize();
    this.context.clearRect(0, 0, this.width, this.height);
    this.x = (time) => full.xaxis._offset + full.xaxis.l2p(time + scene.shift);
    this.barWidth = Math.max(1, (this.x(scene.barMs) - this.x(0)) * 0.7);
    this.box = { left: full.xaxis._offset, width: full.xaxis._length };
    this.#provenance(scene, full);
    this.#clipped(full.yaxis, (y) => this.#price(scene, y));
    this.#clipped(full.yaxis2, (y) => this.#volume(scene, y));
    if (full.yaxis3) this.#clipped(full.yaxis3, (y) => this.#lines(scene, "y3", y));
    this.#lastPrice(scene, full.yaxis);
    if (scene.cross) this.#cross(scene, full);
  }

  #provenance({ gaps, standIns }, full) {
    const top = full.yaxis._offset;
    paintGaps(this.context, gaps, { x: this.x, box: this.box, top, bottom: full.height - full.margin.b });
    this.#clipped(full.yaxis, () => {
      paintStandIns(this.context, standIns, { x: this.x, bottom: top + full.yaxis._length, barWidth: this.barWidth });
    });
  }

  #clipped(axis, draw) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(this.box.left, axis._offset, this.box.width, axis._length);
    this.context.clip();
    draw((value) => axis._offset + axis.l2p(value));
    this.context.restore();
  }

  #price(scene, y) {
    if (scene.style === "line") {
      this.#area(scene, y);
      this.#lines(scene, "price", y);
    }
    for (const row of scene.style === "line" ? [] : scene.rows) this.#candle(row, scene.colors, y);
    this.#lines(scene, "y", y);
  }

  /** The end of the area below a line chart, with the gradient that Plotly drew the rest in. */
  #area(scene, y) {
    const points = scene.lines.find((line) => line.axis === "price")?.points ?? [];
    if (points.length < 2) return;
    const { yaxis } = this.plot._fullLayout;
    const [top, bottom] = [yaxis._offset, yaxis._offset + yaxis._length];
    const fill = this.context.createLinearGradient(0, bottom, 0, top);
    scene.colors.fade.forEach((color, place) => fill.addColorStop(place, color));
    this.context.fillStyle = fill;
    this.context.beginPath();
    this.context.moveTo(this.x(points[0][0]), bottom);
    for (const [time, value] of points) this.context.lineTo(this.x(time), y(value));
    this.context.lineTo(this.x(points.at(-1)[0]), bottom);
    this.context.fill();
  }

  #candle(row, colors, y) {
    const rising = row.close >= row.open;
    const color = rising ? colors.up : colors.down;
    const x = this.x(row.open_time_ms);
    const top = y(Math.max(row.open, row.close));
    const height = Math.max(1, y(Math.min(row.open, row.close)) - top);
    const { context } = this;
    context.strokeStyle = color;
    context.lineWidth = 1.2;
    context.beginPath();
    context.moveTo(x, y(row.high));
    context.lineTo(x, top);
    context.moveTo(x, top + height);
    context.lineTo(x, y(row.low));
    context.stroke();
    context.fillStyle = rising ? colors.upFill : colors.downFill;
    context.fillRect(x - this.barWidth / 2, top, this.barWidth, height);
    context.strokeRect(x - this.barWidth / 2, top, this.barWidth, height);
  }

  #volume(scene, y) {
    for (const row of scene.rows) {
      this.context.fillStyle = row.close >= row.open ? scene.colors.upVolume : scene.colors.downVolume;
      const top = y(row.volume);
      this.context.fillRect(this.x(row.open_time_ms) - this.barWidth / 2, top, this.barWidth, y(0) - top);
    }
  }

  #lines(scene, axis, y) {
    for (const line of scene.lines.filter((each) => each.axis === axis)) {
      this.context.strokeStyle = line.color;
      this.context.lineWidth = line.width ?? 1.5;
      this.context.setLineDash(line.dash ? [4, 3] : []);
      this.context.beginPath();
      line.points.forEach(([time, value], index) => {
        if (value === null) return;
        this.context[index ? "lineTo" : "moveTo"](this.x(time), y(value));
      });
      this.context.stroke();
      this.context.setLineDash([]);
    }
  }

  #lastPrice(scene, axis) {
    if (scene.price === null) return;
    const inside = axis.l2p(scene.price);
    const y = axis._offset + Math.min(axis._length, Math.max(0, inside));
    const color = scene.rising ? scene.colors.up : scene.colors.down;
    const { context } = this;
    const end = this.box.left + this.box.width;
    context.strokeStyle = color;
    context.globalAlpha = 0.75;
    context.setLineDash([2, 3]);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(this.box.left, Math.round(y) + 0.5);
    context.lineTo(end, Math.round(y) + 0.5);
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
    makeRoom(this.plot, y - 18, y + (scene.left ? 34 : 18));
    this.#tag(end + 3, y, scene.label, color, "#06110d");
    if (!scene.left) return;
    context.font = "11px 'Source Sans', 'Source Sans Pro', system-ui, sans-serif";
    context.fillStyle = scene.colors.muted;
    context.fillText(scene.left, end + 9, y + 19);
  }

  #cross({ cross, formatPrice, formatTime, colors, barMs }, full) {
    const { context } = this;
    const bottom = full.height - full.margin.b;
    const step = Math.round((full.xaxis.p2l(cross.x - this.box.left) - 0) / barMs) * barMs;
    const x = Math.round(full.xaxis._offset + full.xaxis.l2p(step)) + 0.5;
    context.strokeStyle = colors.cross;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(x, full.margin.t);
    context.lineTo(x, bottom);
    if (cross.y !== null) {
      context.moveTo(this.box.left, Math.round(cross.y) + 0.5);
      context.lineTo(this.box.left + this.box.width, Math.round(cross.y) + 0.5);
    }
    context.stroke();
    context.setLineDash([]);
    const { yaxis } = full;
    if (cross.y !== null && cross.y >= yaxis._offset && cross.y <= yaxis._offset + yaxis._length) {
      const price = formatPrice(yaxis.p2l(cross.y - yaxis._offset));
      this.#tag(this.box.left + this.box.width + 3, cross.y, price, colors.crossTag, colors.text);
    }
    const text = formatTime(step);
    context.font = this.#font();
    this.#tag(x - context.measureText(text).width / 2 - 6, bottom + 12, text, colors.crossTag, colors.text);
  }

  #tag(x, y, text, color, ink) {
    const { context } = this;
    context.font = this.#font();
    const width = context.measureText(text).width + 12;
    context.fillStyle = color;
    context.beginPath();
    context.roundRect(Math.min(x, this.width - width), y - 10, width, 20, 4);
    context.fill();
    context.fillStyle = ink;
    context.textBaseline = "middle";
    context.fillText(text, Math.min(x, this.width - width) + 6, y + 0.5);
  }

  #font() {
    return "600 12px 'Source Sans', 'Source Sans Pro', system-ui, sans-serif";
  }
}
