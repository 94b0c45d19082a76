// The console: pick an endpoint, connect or send, and read the frames as they come.

import { base, mounted, open } from "./feed.js";

const KEEP = 300;

class Console {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "cc-console";
    this.root.innerHTML = `
      <form class="cc-bar">
        <span class="cc-method">WS</span>
        <input name="path" aria-label="Path" spellcheck="false" autocomplete="off">
        <button type="submit" class="main">Connect</button>
        <button type="button" data-do="ping" title='Send {"type":"ping"}'>Ping</button>
        <button type="button" data-do="pause" aria-pressed="false">Pause</button>
        <button type="button" data-do="copy">Copy</button>
        <button type="button" data-do="clear">Clear</button>
        <span class="cc-state" role="status">not connected</span>
      </form>
      <ol class="cc-frames" tabindex="0" aria-label="Frames, newest first"></ol>`;
    parent.append(this.root);
    this.form = this.root.querySelector("form");
    this.list = this.root.querySelector("ol");
    this.state = this.root.querySelector(".cc-state");
    this.frames = [];
    this.waiting = [];
    this.count = 0;
    this.bytes = 0;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.socket) this.#disconnect("closed by you");
      else this.#go();
    });
    this.list.addEventListener("click", (event) => event.target.closest("li")?.classList.toggle("open"));
    this.form.addEventListener("click", (event) => this.#do(event.target.dataset.do));
  }

  update({ path, kind }) {
    if (path === this.path && kind === this.kind) return;
    [this.path, this.kind] = [path, kind];
    this.#disconnect("not connected");
    this.form.path.value = path;
    this.root.querySelector(".cc-method").textContent = kind;
    this.#buttons();
  }

  close() {
    this.#disconnect("");
    this.root.remove();
  }

  #go() {
    if (this.kind === "GET") return this.#fetch();
    const socket = open(this.form.path.value.replace(/^\//, ""));
    this.socket = socket;
    this.#say("connecting");
    this.#buttons();
    socket.onopen = () => this.#say("connected");
    socket.onmessage = (event) => this.#frame("in", event.data);
    socket.onclose = (event) => {
      if (this.socket === socket) this.#disconnect(`closed: ${event.code} ${event.reason}`);
    };
  }

  async #fetch() {
    const path = base + this.form.path.value.replace(/^\//, "");
    const began = performance.now();
    try {
      const answer = await fetch(path, { cache: "no-store" });
      const text = await answer.text();
      this.#frame("in", text);
      this.#say(`${answer.status} ${answer.statusText} in ${(performance.now() - began).toFixed(0)} ms`);
    } catch (error) {
      this.#say(`failed: ${error.message}`);
    }
  }

  #disconnect(words) {
    const { socket } = this;
    this.socket = null;
    socket?.close();
    this.#say(words);
    this.#buttons();
  }

  #do(what) {
    if (what === "ping" && this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send('{"type":"ping"}');
      this.#frame("out", '{"type":"ping"}');
    } else if (what === "pause") {
      this.paused = !this.paused;
      this.form.querySelector("[data-do=pause]").setAttribute("aria-pressed", Boolean(this.paused));
      this.#soon();
    } else if (what === "copy") this.#copy();
    else if (what === "clear") {
      this.frames = [];
      this.waiting = [];
      this.list.replaceChildren();
    }
  }

  async #copy() {
    const text = this.frames.map((frame) => frame.text).reverse().join("\n");
    try {
      await navigator.clipboard.writeText(text);
      this.#say(`copied ${this.frames.length} frames`);
    } catch {
      this.#say("the browser does not let pages copy here");
    }
  }

  #frame(way, text) {
    this.count += 1;
    this.bytes += text.length;
    this.waiting.push({ way, text, time: new Date().toISOString().slice(11, 23) });
    if (this.waiting.length > KEEP) this.waiting.shift();
    this.#soon();
  }

  #soon() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      this.root.dataset.count = this.count;
      if (this.paused) return;
      for (const frame of this.waiting.splice(0)) this.#show(frame);
    });
  }

  #show(frame) {
    this.frames.unshift(frame);
    const item = document.createElement("li");
    item.className = frame.way;
    const type = /"type"\s*:\s*"(\w+)"/.exec(frame.text.slice(0, 300))?.[1] ?? (frame.way === "out" ? "sent" : "body");
    for (const [tag, text] of [["time", frame.time], ["b", type], ["code", frame.text.slice(0, 4000)]]) {
      item.append(Object.assign(document.createElement(tag), { textContent: text }));
    }
    item.dataset.type = type;
    this.list.prepend(item);
    if (this.frames.length > KEEP) {
      this.frames.pop();
      this.list.lastChild.remove();
    }
  }

  #buttons() {
    const ws = this.kind !== "GET";
    this.form.querySelector(".main").textContent = ws ? (this.socket ? "Disconnect" : "Connect") : "Send";
    this.form.querySelector("[data-do=ping]").hidden = !ws;
  }

  #say(words) {
    this.state.textContent = words;
  }
}

export default function (component) {
  const [console, cleanup] = mounted(component.parentElement, () => new Console(component.parentElement));
  console.update(component.data);
  return cleanup;
}
