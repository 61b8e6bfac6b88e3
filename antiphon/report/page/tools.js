// Small things that everything uses.

const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// An element with properties (a dataset or style key starts with "--" for CSS variables) and children.
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("--")) made.style.setProperty(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A position in the call: 1:02:03.4 with as many decimals as asked.
function clock(t, decimals = 0) {
  const unit = 10 ** decimals;
  const whole = Math.floor(Math.abs(t) * unit + 1e-6) / unit;
  const sign = t < 0 && whole ? "−" : "";
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const seconds = (whole % 60).toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0");
  return sign + (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : `${minutes}`) + `:${seconds}`;
}

// A length of time.
function lasting(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : clock(seconds);
}

const number = (value) => value.toLocaleString("en");
const roughly = (value) => (value < 10000 ? number(value) : `${number(Math.round(value / 1000))}k`);
const counted = (value, name) => `${number(value)} ${name}${value === 1 ? "" : "s"}`;
const money = (value) => "$" + value.toFixed(value < 0.1 ? 4 : 2);

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function bytes(base64) {
  const text = atob(base64);
  const made = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) made[i] = text.charCodeAt(i);
  return made;
}

// Someone who tells others that something changed.
class Teller {
  #listeners = [];
  listen(listener) { this.#listeners.push(listener); }
  tell() { for (const listener of this.#listeners) listener(); }
}
