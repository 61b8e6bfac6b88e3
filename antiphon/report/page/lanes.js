// Draws the lanes. Each drawing returns nothing and notes in `boxes` where the things are.

const LANES = [
  { name: "user", label: "User", share: 1 },
  { name: "model", label: "Model", share: 1 },
  { name: "responses", label: "Responses", height: 40 },
  { name: "tools", label: "Tools", height: 34 },
  { name: "links", label: "Connection", height: 30 },
  { name: "events", label: "Events", height: 32 },
];
const RULER = 24;
const STEPS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];

const colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["bad", "bg", "cut", "focus", "gap", "gap-soft", "line", "line-strong", "link", "model", "model-soft", "note", "panel", "response", "soft", "text", "tool", "user", "user-soft", "wait"]) {
    colours[`--${name}`] = style.getPropertyValue(`--${name}`).trim();
  }
}

class Picture {
  boxes = [];
  constructor(pen, width, height, left) {
    Object.assign(this, { pen, width, height, left });
    this.scale = (width - left) / view.length;
    const fixed = LANES.reduce((sum, lane) => sum + (lane.height ?? 0), RULER);
    let top = RULER;
    this.rows = {};
    for (const lane of LANES) {
      const tall = lane.height ?? Math.max((height - fixed) / 2, 50);
      this.rows[lane.name] = { top, height: tall, middle: top + tall / 2 };
      top += tall;
    }
  }

  x(t) { return this.left + (t - view.from) * this.scale; }

  draw() {
    const { pen, width, height } = this;
    pen.clearRect(0, 0, width, height);
    pen.save();
    pen.beginPath();
    pen.rect(this.left, 0, width - this.left, height);
    pen.clip();
    this.grid();
    const seen = things.filter((thing) => thing.end >= view.from && thing.start <= view.to);
    for (const thing of seen) if (thing.kind === "speech") this.speech(thing);
    for (const thing of seen) if (thing.kind === "spoken") this.heard(thing);
    this.wave("user", call.user, "--user");
    this.wave("model", call.assistant, "--model");
    for (const thing of things) if (thing.kind === "spoken") this.unheard(thing);
    for (const thing of seen) this[thing.kind]?.call(this, thing, true);
    this.chosen();
    pen.restore();
    this.frames();
  }

  grid() {
    const { pen } = this;
    const step = STEPS.find((seconds) => seconds * this.scale >= 74) ?? 7200;
    const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    pen.font = "11.5px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    for (let i = Math.ceil(view.from / step); i * step <= view.to; i++) {
      const x = Math.round(this.x(i * step)) + 0.5;
      pen.fillStyle = colours["--line"];
      pen.fillRect(x, RULER - 7, 1, this.height);
      pen.fillStyle = colours["--soft"];
      pen.fillText(clock(i * step, decimals), x + 5, RULER / 2);
    }
  }

  frames() {
    const { pen } = this;
    pen.fillStyle = colours["--line"];
    for (const row of Object.values(this.rows)) pen.fillRect(0, Math.round(row.top), this.width, 1);
    pen.fillRect(this.left - 1, 0, 1, this.height);
  }

  // A rectangle for a thing, at least wide enough to be seen and pointed at.
  box(thing, row, start, end, inset = 5) {
    const x = this.x(start);
    const place = { x, y: row.top + inset, w: Math.max(this.x(end) - x, 3), h: row.height - 2 * inset, thing };
    this.boxes.push(place);
    return place;
  }

  fill({ x, y, w, h }, colour, radius = 3) {
    const { pen } = this;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.roundRect(x, y, w, h, Math.min(radius, w / 2));
    pen.fill();
  }

  hatch({ x, y, w, h }, colour) {
    const { pen } = this;
    pen.save();
    pen.beginPath();
    pen.roundRect(x, y, w, h, Math.min(3, w / 2));
    pen.clip();
    pen.strokeStyle = colour;
    pen.globalAlpha = 0.75;
    pen.lineWidth = 1.2;
    pen.beginPath();
    const first = Math.max(x, this.left) - h - (Math.max(x, this.left) % 7);
    for (let at = first; at < Math.min(x + w, this.width); at += 7) {
      pen.moveTo(at, y + h);
      pen.lineTo(at + h, y);
    }
    pen.stroke();
    pen.restore();
  }

  // Text that stays in sight while its box is, cut to what there is room for.
  label(place, text, colour, weight = 400) {
    const { pen } = this;
    const from = Math.max(place.x, this.left) + 6;
    const room = Math.min(place.x + place.w, this.width) - from - 4;
    if (room < 14) return;
    pen.font = `${weight} 11.5px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    let shown = text;
    if (pen.measureText(text).width > room) {
      let length = Math.floor((text.length * room) / pen.measureText(text).width);
      while (length > 0 && pen.measureText(text.slice(0, length) + "…").width > room) length--;
      if (length < 2) return;
      shown = text.slice(0, length).trimEnd() + "…";
    }
    pen.fillStyle = colour;
    pen.fillText(shown, from, place.y + place.h / 2);
  }

  speech(thing, top = false) {
    const row = this.rows.user;
    if (!top) return this.fill(this.box(thing, row, thing.start, thing.end, 4), colours["--user-soft"], 4);
    const place = { x: this.x(thing.start), w: this.x(thing.end) - this.x(thing.start), y: row.top + 5, h: 16 };
    this.label(place, thing.text, colours["--user"]);
  }

  heard(thing) {
    const row = this.rows.model;
    for (const [start, end] of thing.spoken.heard) this.fill(this.box(thing, row, start, end, 4), colours["--model-soft"], 4);
  }

  spoken(thing) {
    const place = { x: this.x(thing.start), w: this.x(thing.end) - this.x(thing.start), y: this.rows.model.top + 5, h: 16 };
    this.label(place, thing.text, colours["--model"]);
  }

  // What was cut, as long as it would have lasted, up to what the model said next.
  unheard(thing) {
    if (thing.unheard < 0.1) return;
    const next = things.find((other) => other.kind === "spoken" && other.start > thing.end - 0.01 && other !== thing);
    const end = Math.min(thing.end + thing.unheard, next?.start ?? Infinity);
    if (end < view.from || thing.end > view.to) return;
    const place = this.box(thing, this.rows.model, thing.end, end, 4);
    this.hatch(place, colours["--cut"]);
    if (thing.spoken.cutAt !== null) this.fill({ x: place.x - 1, y: place.y - 4, w: 2.5, h: place.h + 8 }, colours["--cut"], 0);
    const text = `${lasting(thing.unheard)} not heard`;
    this.pen.font = "600 11.5px system-ui, sans-serif";
    const wide = this.pen.measureText(text).width + 12;
    if (place.w < wide + 6) return;
    const plate = { x: Math.max(place.x, this.left) + 4, y: place.y + place.h - 22, w: wide, h: 18 };
    this.fill(plate, colours["--panel"]);
    this.label(plate, text, colours["--cut"], 600);
  }

  wave(lane, wave, tint) {
    const { pen } = this;
    const row = this.rows[lane];
    // Words stand above the wave.
    const middle = row.middle + 8;
    const tall = row.height / 2 - 14;
    const { bins, rate } = wave;
    pen.fillStyle = colours[tint];
    pen.globalAlpha = player.muted[lane] ? 0.3 : 1;
    pen.beginPath();
    for (let x = Math.max(this.left, Math.floor(this.x(call.began))); x < this.width; x++) {
      const t = view.from + (x - this.left) / this.scale - call.began;
      const first = Math.floor(t * rate);
      const last = Math.max(first + 1, Math.floor((t + 1 / this.scale) * rate));
      let peak = 0;
      for (let i = first; i < last && i < bins.length; i++) if (bins[i] > peak) peak = bins[i];
      if (first >= bins.length) break;
      if (!peak) continue;
      const height = Math.max((peak / 255) ** 1.7 * tall, 0.5);
      pen.rect(x, middle - height, 1, 2 * height);
    }
    pen.fill();
    pen.globalAlpha = 1;
  }

  response(thing) {
    const { response } = thing;
    const place = this.box(thing, this.rows.responses, thing.start, thing.end, 8);
    this.fill(place, colours[thing.bad ? "--bad" : "--response"]);
    const waiting = response.firstAudio ?? (response.status === "completed" ? thing.start : thing.end);
    this.fill({ ...place, w: Math.max(this.x(waiting) - place.x, 0) }, colours[thing.bad ? "--gap-soft" : "--wait"]);
    if (response.firstAudio === null) return this.label(place, response.status, colours["--text"]);
    const after = this.x(waiting);
    this.label({ ...place, w: after - place.x }, lasting(waiting - thing.start), colours["--text"], 600);
    if (response.status !== "completed") this.label({ ...place, x: after, w: place.x + place.w - after }, response.status, colours["--panel"], 600);
  }

  tool(thing) {
    const place = this.box(thing, this.rows.tools, thing.start, thing.end, 7);
    this.fill(place, colours[thing.tint]);
    const text = this.room(thing, place);
    if (place.w < 60) this.label({ ...place, x: place.x + place.w, w: text }, thing.title, colours[thing.tint], 600);
    else this.label(place, thing.title, colours["--panel"], 600);
  }

  // How far a label may go on to the right of a small box: to the next of its lane.
  room(thing, place) {
    const next = things.find((other) => other.lane === thing.lane && other.start > thing.start);
    const end = next ? this.x(next.start) : this.width;
    return Math.max(end - place.x - place.w - 2, 0);
  }

  link(thing) {
    const place = this.box(thing, this.rows.links, thing.start, thing.end, 6);
    this.fill(place, colours["--link"]);
    this.label(place, thing.title, colours["--panel"], 600);
  }

  gap(thing) {
    const place = this.box(thing, this.rows.links, thing.start, thing.end, 5);
    this.fill(place, colours[thing.bad ? "--gap-soft" : "--line"], 2);
    this.hatch(place, colours[thing.tint]);
    this.fill({ ...place, w: 2 }, colours[thing.tint], 0);
  }

  mark(thing) { this.diamond(thing); }
  words(thing) { this.diamond(thing); }

  diamond(thing) {
    const { pen } = this;
    const row = this.rows.events;
    const x = this.x(thing.start);
    pen.fillStyle = colours[thing.tint];
    pen.beginPath();
    pen.moveTo(x, row.middle - 7);
    pen.lineTo(x + 6, row.middle);
    pen.lineTo(x, row.middle + 7);
    pen.lineTo(x - 6, row.middle);
    pen.fill();
    const place = { x: x - 7, y: row.top + 4, w: 14, h: row.height - 8, thing };
    this.boxes.push(place);
    this.label({ ...place, x: place.x + 12, w: this.room(thing, place) }, thing.title, colours[thing.tint]);
  }

  chosen() {
    const { pen } = this;
    pen.strokeStyle = colours["--focus"];
    pen.lineWidth = 2;
    for (const { x, y, w, h, thing } of this.boxes) {
      if (thing !== choice.thing) continue;
      pen.beginPath();
      pen.roundRect(x - 1, y - 1, w + 2, h + 2, 4);
      pen.stroke();
    }
  }

  // The thing at a point: the smallest there, with a little tolerance.
  at(x, y) {
    const here = this.boxes.filter((box) => x >= box.x - 3 && x <= box.x + box.w + 3 && y >= box.y - 3 && y <= box.y + box.h + 3);
    return here.sort((a, b) => a.w * a.h - b.w * b.h)[0]?.thing ?? null;
  }
}
