// The lanes on the screen: sizes, mouse and fingers, the playhead, and the strip with the whole call above.

const lanes = byId("lanes");
const overview = byId("overview");
const tip = byId("tip");
const DRAG = 4; // pixels before a press becomes a drag

const timeline = new (class {
  #picture = null;
  #due = false;
  #whole = null; // the overview without its window, drawn once for a size and theme

  get left() { return innerWidth < 640 ? 84 : 104; }
  timeAt(x) { return view.from + (x - this.left) / this.#picture.scale; }

  start() {
    this.#gutter();
    this.#draw();
    this.#fitToSize();
    for (const teller of [view, choice, player]) teller.listen(() => this.redraw());
    this.#pointer();
    this.#overviewPointer();
  }

  // An observer is told between layout and paint. To draw right there, and not in the next frame, is what keeps
  // the old drawing from being shown stretched to the new size.
  #fitToSize() {
    new ResizeObserver(() => {
      this.#whole = null;
      this.#draw();
    }).observe(lanes);
  }

  redraw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }

  // Everything again; the colours have changed.
  refresh() {
    readColours();
    this.#whole = null;
    this.redraw();
  }

  #draw() {
    const [pen, width, height] = this.#prepare(lanes);
    this.#picture = new Picture(pen, width, height, this.left);
    this.#picture.draw();
    // For those who can't see the canvas: scripts, and the tests.
    lanes.dataset.from = view.from.toFixed(3);
    lanes.dataset.to = view.to.toFixed(3);
    for (const label of byId("gutter").children) {
      const row = this.#picture.rows[label.dataset.lane];
      label.style.top = `${row.top}px`;
      label.style.height = `${row.height}px`;
    }
    byId("gutter").style.width = `${this.left}px`;
    this.#drawOverview();
    this.movePlayhead();
  }

  #prepare(canvas) {
    const { width, height } = canvas.getBoundingClientRect();
    const sharp = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * sharp) || canvas.height !== Math.round(height * sharp)) {
      canvas.width = Math.round(width * sharp);
      canvas.height = Math.round(height * sharp);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    return [pen, width, height];
  }

  movePlayhead() {
    const x = this.#picture.x(player.time);
    byId("playhead").style.transform = `translateX(${x}px)`;
    byId("playhead").hidden = x < this.left - 0.5;
    lanes.setAttribute("aria-valuemin", call.began.toFixed(1));
    lanes.setAttribute("aria-valuemax", call.ended.toFixed(1));
    lanes.setAttribute("aria-valuenow", player.time.toFixed(1));
    lanes.setAttribute("aria-valuetext", clock(player.time, 1));
  }

  #gutter() {
    for (const { name, label } of LANES) {
      const row = element("div", { className: name }, element("span", {}, label));
      row.dataset.lane = name;
      if (name === "user" || name === "model") row.append(this.#muteButton(name, label));
      byId("gutter").append(row);
    }
  }

  #muteButton(voice, label) {
    const button = element("button", { type: "button", disabled: !player.audible, title: `Mute (${voice === "user" ? "u" : "m"})` });
    button.innerHTML = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M3 8v4h3l4 3.5v-11L6 8z"/><path class="when-heard" d="M13 7.5a4 4 0 0 1 0 5M15.3 5a7 7 0 0 1 0 10"/><path class="when-muted" d="M13 8l5 4.5M18 8l-5 4.5"/></svg>';
    button.setAttribute("aria-label", `Mute: ${label}`);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => player.mute(voice));
    player.listen(() => button.setAttribute("aria-pressed", String(player.muted[voice])));
    return button;
  }

  // -- mouse and fingers on the lanes: click seeks and chooses, drag pans, the wheel zooms

  #pointer() {
    let press = null;
    lanes.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.offsetX >= this.left) press = { x: event.offsetX, from: view.from, moved: false };
    });
    lanes.addEventListener("pointermove", (event) => {
      if (press && !press.moved && Math.abs(event.offsetX - press.x) > DRAG && !view.whole) {
        press.moved = true;
        lanes.setPointerCapture(event.pointerId);
        lanes.classList.add("dragging");
      }
      if (press?.moved) view.pan(press.from - (event.offsetX - press.x) / this.#picture.scale - view.from);
      this.#hover(press?.moved ? null : event);
    });
    lanes.addEventListener("pointerup", (event) => {
      if (press && !press.moved) this.#click(event);
      press = null;
      lanes.classList.remove("dragging");
    });
    lanes.addEventListener("pointercancel", () => { press = null; lanes.classList.remove("dragging"); });
    lanes.addEventListener("pointerleave", () => this.#hover(null));
    lanes.addEventListener("dblclick", (event) => {
      const thing = this.#picture.at(event.offsetX, event.offsetY);
      if (thing) view.show(thing.start - 0.3 * (thing.end - thing.start) - 0.2, thing.end + 0.3 * (thing.end - thing.start) + 0.2);
    });
    lanes.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  #click(event) {
    player.seek(this.timeAt(event.offsetX));
    choice.choose(this.#picture.at(event.offsetX, event.offsetY));
  }

  // Where the page itself scrolls, only the wheel with Ctrl (or a pinch) zooms.
  #wheel(event) {
    const scrolls = document.documentElement.scrollHeight > innerHeight + 1;
    const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (scrolls && !event.ctrlKey && !event.metaKey && !sideways) return;
    event.preventDefault();
    if (sideways) view.pan(((event.deltaX || event.deltaY) * view.length) / 1000);
    else view.zoom(Math.exp(clamp(event.deltaY, -100, 100) * (event.ctrlKey ? 0.01 : 0.003)), this.timeAt(event.offsetX));
  }

  #hover(event) {
    const line = byId("hover");
    const shown = event !== null && event.offsetX >= this.left && event.pointerType !== "touch";
    line.hidden = tip.hidden = !shown;
    if (!shown) return;
    line.style.transform = `translateX(${event.offsetX}px)`;
    const thing = this.#picture.at(event.offsetX, event.offsetY);
    const text = thing?.text && thing.text.length > 180 ? thing.text.slice(0, 180) + "…" : thing?.text;
    tip.replaceChildren(clock(this.timeAt(event.offsetX), 2), ...(thing ? [element("b", {}, thing.title), text ?? ""] : []));
    const right = event.offsetX + 14 + tip.offsetWidth > lanes.clientWidth;
    tip.style.left = `${right ? Math.max(event.offsetX - tip.offsetWidth - 12, 4) : event.offsetX + 14}px`;
    tip.style.top = `${clamp(event.offsetY + 16, 4, lanes.clientHeight - tip.offsetHeight - 4)}px`;
  }

  // -- the whole call, with a window on what the lanes show

  #drawOverview() {
    const [pen, width, height] = this.#prepare(overview);
    const scale = (width - 24) / (view.last - view.first);
    const x = (t) => 12 + (t - view.first) * scale;
    this.#whole ??= this.#wholeCall(width, height, x);
    pen.clearRect(0, 0, width, height);
    pen.drawImage(this.#whole, 0, 0, width, height);
    const [from, to] = [x(view.from), x(view.to)];
    pen.fillStyle = colours["--bg"];
    pen.globalAlpha = 0.7;
    pen.fillRect(0, 0, from, height);
    pen.fillRect(to, 0, width - to, height);
    pen.globalAlpha = 1;
    pen.strokeStyle = colours["--line-strong"];
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.roundRect(from, 2, Math.max(to - from, 3), height - 4, 4);
    pen.stroke();
    pen.fillStyle = colours["--text"];
    pen.fillRect(x(player.time), 0, 1.5, height);
  }

  #wholeCall(width, height, x) {
    const sharp = devicePixelRatio || 1;
    const canvas = element("canvas", { width: width * sharp, height: height * sharp });
    const pen = canvas.getContext("2d");
    pen.scale(sharp, sharp);
    for (const [wave, tint, up] of [[call.user, "--user", true], [call.assistant, "--model", false]]) {
      pen.fillStyle = colours[tint];
      const bins = wave.bins;
      const each = (bins.length / wave.rate / (view.last - view.first)) * (width - 24);
      for (let column = 0; column < each; column++) {
        let peak = 0;
        const last = Math.ceil(((column + 1) / each) * bins.length);
        for (let i = Math.floor((column / each) * bins.length); i < last; i++) if (bins[i] > peak) peak = bins[i];
        const tall = (peak / 255) ** 1.7 * (height / 2 - 5);
        pen.fillRect(x(call.began) + column, up ? height / 2 - tall : height / 2, 1, tall);
      }
    }
    for (const thing of things) {
      if (!thing.bad) continue;
      pen.fillStyle = colours["--bad"];
      pen.fillRect(x(thing.start) - 1, height - 5, Math.max(x(thing.end) - x(thing.start), 3), 4);
    }
    return canvas;
  }

  #overviewPointer() {
    let grip = null;
    const time = (event) => view.first + ((event.offsetX - 12) / (overview.clientWidth - 24)) * (view.last - view.first);
    const move = (event) => view.show(time(event) - grip, time(event) - grip + view.length);
    overview.addEventListener("pointerdown", (event) => {
      const t = time(event);
      grip = t > view.from && t < view.to ? t - view.from : view.length / 2;
      if (view.whole) player.seek(t);
      overview.setPointerCapture(event.pointerId);
      overview.classList.add("dragging");
      move(event);
    });
    overview.addEventListener("pointermove", (event) => { if (grip !== null) move(event); });
    overview.addEventListener("pointerup", () => { grip = null; overview.classList.remove("dragging"); });
  }
})();
