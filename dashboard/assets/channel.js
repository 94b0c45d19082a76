// A WebSocket of our own server that comes back: it reconnects for ever, with a capped backoff, and
// pings so that a connection that died without a word is noticed.

import { open } from "./feed.js";

const BACKOFF_MS = [250, 500, 1000, 2000, 4000, 8000];
const PING_EVERY_MS = 15_000;

export class Channel extends EventTarget {
  /** Events: "frame" (detail: the parsed frame), "state" (`connected` has changed). */
  constructor(path) {
    super();
    this.path = path;
    this.connected = false;
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
      this.pinger = setInterval(() => this.#ping(), PING_EVERY_MS);
      this.#is(true);
    };
    this.socket.onmessage = ({ data }) => this.#read(JSON.parse(data));
    this.socket.onclose = () => this.#lost();
  }

  #read(frame) {
    clearTimeout(this.pongDue); // whatever came, it lives
    if (frame.type === "initial_data") this.attempt = 0; // only data prove that the server is well
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  #ping() {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send('{"type":"ping"}');
    clearTimeout(this.pongDue);
    this.pongDue = setTimeout(() => this.socket.close(), PING_EVERY_MS - 1000);
  }

  #lost() {
    clearInterval(this.pinger);
    clearTimeout(this.pongDue);
    this.#is(false);
    if (this.closed) return;
    const wait = BACKOFF_MS[Math.min(this.attempt++, BACKOFF_MS.length - 1)];
    this.retry = setTimeout(() => this.#open(), wait * (0.75 + Math.random() / 2));
  }

  #is(connected) {
    this.connected = connected;
    this.dispatchEvent(new Event("state"));
  }
}
