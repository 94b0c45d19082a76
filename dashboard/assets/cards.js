// The row of cards: text is changed in place, so that only a value that changed flashes.

const SVG = "http://www.w3.org/2000/svg";

export class Cards {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "cc-cards";
    parent.append(this.root);
  }

  update(cards) {
    while (this.root.children.length > cards.length) this.root.lastChild.remove();
    cards.forEach((card, index) => this.#card(this.root.children[index] ?? this.#add(), card));
  }

  close() {
    this.root.remove();
  }

  #add() {
    const element = document.createElement("div");
    element.className = "cc-card";
    element.innerHTML = `<span class="cc-label"></span><span class="cc-value"></span><span class="cc-note"></span>`;
    this.root.append(element);
    return element;
  }

  #card(element, { label, value, note, tone, spark, bars }) {
    const [labelBox, valueBox, noteBox] = element.children;
    const same = labelBox.textContent === label;
    labelBox.textContent = label;
    if (valueBox.textContent !== value) {
      if (same && valueBox.textContent) this.#flash(valueBox, value);
      valueBox.textContent = value;
    }
    const arrow = { up: "▲ ", down: "▼ " }[tone] ?? "";
    noteBox.textContent = arrow + note;
    noteBox.className = `cc-note ${tone}`;
    noteBox.hidden = !note;
    element.querySelector("svg")?.remove();
    if (spark.length > 1) element.append(drawing(spark, bars));
  }

  #flash(box, value) {
    const number = (text) => Number(text.replace("\u2212", "-").replace(/[^0-9.-]/g, ""));
    const rose = number(value) >= number(box.textContent);
    box.getAnimations().forEach((animation) => animation.cancel());
    const style = getComputedStyle(document.documentElement);
    const color = style.getPropertyValue(rose ? "--cc-up" : "--cc-down");
    box.animate([{ color }, { color }, {}], { duration: 700, easing: "ease-out" });
  }
}

/** A small chart of `values` as SVG: a line, coloured by its direction, or bars. */
export function drawing(values, bars) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 32");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const high = Math.max(...values);
  const low = bars ? 0 : Math.min(...values);
  const y = (value) => 30 - (high > low ? (28 * (value - low)) / (high - low) : 14);
  if (bars) {
    const step = 100 / values.length;
    values.forEach((value, i) => append(svg, "rect", { x: i * step, y: y(value), width: step * 0.65, height: 32 - y(value) }));
    svg.setAttribute("class", "cc-spark bars");
    return svg;
  }
  const points = values.map((value, i) => `${((100 * i) / (values.length - 1)).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  append(svg, "polygon", { points: `0,32 ${points} 100,32` });
  append(svg, "polyline", { points });
  svg.setAttribute("class", `cc-spark ${values.at(-1) >= values[0] ? "up" : "down"}`);
  return svg;
}

function append(svg, name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  svg.append(element);
}
