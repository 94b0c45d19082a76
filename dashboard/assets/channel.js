// A WebSocket of our own server that comes back: it reconnects for ever, with a capped backoff, and
// pings so that a connection that died without a word is noticed. It never polls.

const BACKOFF_MS = [250, 500, 1000, 2000, 4000, 8000];
const PING_EVERY_MS = 15_000; // also keeps the clock offset of whoever measures it fresh

/** Where the app is mounted: "/" or a base path, always with a slash at the end. */
export const base = new URL(import.meta.url).pathname.replace(/assets\/.*$/, "");

let protocols = [];
/** The secret that the server wants WebSocket clients to show; browsers can only do it this way. */
export function useToken(token) {
  protocols = token ? ["candlecast", token] : [];
}

/** A WebSocket of our own server. */
export function open(path) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(`${scheme}//${location.host}${base}${path}`, protocols);
}

export class Channel extends EventTarget {
  /** Events: "frame" (detail: the parsed frame), "state" (`connected` has changed). */
  constructor(path) {
    super();
    this.path = path;
    this.connected = false;
    this.pingedAtMs = 0; // when the newest ping was sent
    this.attempt = 0;
    this.closed = false;
    this.#open();
  }

  close() {
    this.closed = true;
    clearTimeout(this.retry);
    clearInterval(this.pinger);
    clearTimeout(this.pongDue);
    this.socket.close();
  }

  #open() {
    this.socket = open(this.path);
    this.socket.onopen = () => {
      this.connected = true;
      this.#ping();
      this.pinger = setInterval(() => this.#ping(), PING_EVERY_MS);
      this.dispatchEvent(new Event("state"));
    };
    this.socket.onmessage = ({ data }) => this.#read(JSON.parse(data));
    this.socket.onclose = () => this.#lost();
  }

  #read(frame) {
    if (frame.type === "pong") clearTimeout(this.pongDue);
    // Only data prove that the server is well.
    else if (frame.type === "initial_data" || frame.type === "price_update") this.attempt = 0;
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  #ping() {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.pingedAtMs = Date.now();
    this.socket.send('{"type":"ping"}');
    clearTimeout(this.pongDue);
    this.pongDue = setTimeout(() => this.socket.close(), PING_EVERY_MS - 1000);
  }

  #lost() {
    clearInterval(this.pinger);
    clearTimeout(this.pongDue);
    this.connected = false;
    if (this.closed) return;
    const wait = BACKOFF_MS[Math.min(this.attempt++, BACKOFF_MS.length - 1)];
    this.retry = setTimeout(() => this.#open(), wait * (0.75 + Math.random() / 2));
    this.dispatchEvent(new Event("state"));
  }
}
