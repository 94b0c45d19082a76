// How long trades take to this tab's screen, on whichever of its pages: the newest ticks painted.

const KEEP = 2000; // ticks
const UNMATCHED = 400; // publishing times whose trades' times are not known yet

/** Run `then` when the frame that is being drawn is on the screen. */
export function afterPaint(then) {
  const channel = new MessageChannel(); // its message comes after this frame was painted
  channel.port1.onmessage = () => {
    channel.port1.close();
    then();
  };
  channel.port2.postMessage(null);
}

class Latencies {
  published = []; // ms from publishing to painted, newest last
  traded = []; // ms from the trade's event time to painted
  waiting = new Map(); // published_at_ms -> painted, by the server's clock

  /** `candle` was painted just now, `ageMs` after it was published. */
  note(candle, ageMs) {
    keep(this.published, ageMs, KEEP);
    this.waiting.set(candle.published_at_ms, candle.published_at_ms + ageMs);
    if (this.waiting.size > UNMATCHED) this.waiting.delete(this.waiting.keys().next().value);
  }

  /**
   * `written`: [published_at_ms, event_time_ms] of some of the job's writes, the latter that of the
   * newest trade in it by the exchange's clock, which is `clockOffsetMs` ahead of the server's.
   */
  match(written, clockOffsetMs) {
    for (const [publishedMs, eventMs] of written) {
      const paintedMs = this.waiting.get(publishedMs);
      if (paintedMs === undefined) continue;
      this.waiting.delete(publishedMs); // once: the same write may be told twice
      keep(this.traded, paintedMs - (eventMs - clockOffsetMs), KEEP);
    }
  }
}

function keep(values, value, most) {
  values.push(value);
  if (values.length > most) values.shift();
}

export const latencies = new Latencies();
