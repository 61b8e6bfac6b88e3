// Which part of the call the lanes show.

const SHORTEST = 0.2; // seconds across the screen

const view = new (class extends Teller {
  from = call.began;
  to = Math.max(call.ended, call.began + 1);
  first = this.from;
  last = this.to;

  get length() { return this.to - this.from; }
  get whole() { return this.length >= this.last - this.first - 1e-9; }

  show(from, to) {
    const length = clamp(to - from, Math.min(SHORTEST, this.last - this.first), this.last - this.first);
    this.from = clamp(from, this.first, this.last - length);
    this.to = this.from + length;
    this.tell();
  }

  fit() { this.show(this.first, this.last); }

  // The moment `t` stays where it is.
  zoom(factor, t) {
    const length = clamp(this.length * factor, SHORTEST, this.last - this.first);
    const share = (t - this.from) / this.length;
    this.show(t - share * length, t - share * length + length);
  }

  pan(seconds) { this.show(this.from + seconds, this.to + seconds); }

  // Bring a stretch into sight, as little as that takes.
  reveal(start, end = start) {
    const margin = this.length * 0.06;
    if (end - start > this.length) this.show(start - margin, end + margin);
    else if (start < this.from + margin) this.show(start - 3 * margin, start - 3 * margin + this.length);
    else if (end > this.to - margin) this.show(end + 3 * margin - this.length, end + 3 * margin);
  }

  // Turn the page when the playhead leaves it.
  follow(t) {
    if (t < this.from || t > this.to) this.show(t - this.length * 0.05, t + this.length * 0.95);
  }
})();
