// Plays the call, and says where it is. A page without audio has a position, too.

const player = new (class extends Teller {
  #audio = null;
  #at = call.began;
  #gains = {};
  muted = { user: false, model: false };
  rate = 1;
  audible = byId("sound-data").textContent.length > 0;

  get time() { return this.#audio ? call.began + this.#audio.currentTime : this.#at; }
  get playing() { return this.#audio !== null && !this.#audio.paused && !this.#audio.ended; }

  seek(t) {
    this.#at = clamp(t, call.began, call.ended);
    if (this.#audio) this.#audio.currentTime = this.#at - call.began;
    this.tell();
  }

  toggle() {
    if (!this.audible) return;
    if (this.playing) this.#audio.pause();
    else {
      this.#load();
      if (this.#audio.ended) this.#audio.currentTime = 0;
      // A pause right after it aborts it.
      this.#audio.play().catch((error) => { if (error.name !== "AbortError") console.warn("antiphon: can't play:", error.message); });
    }
  }

  setRate(rate) {
    this.rate = rate;
    if (this.#audio) this.#audio.playbackRate = rate;
  }

  mute(voice) {
    this.muted[voice] = !this.muted[voice];
    this.#setGains();
    this.tell();
  }

  // When it is first needed: half an hour takes a moment to unpack, and browsers want a click before sound.
  #load() {
    if (this.#audio) return;
    const source = byId("sound-data");
    const file = new Blob([bytes(source.textContent)], { type: source.dataset.type });
    const audio = new Audio(URL.createObjectURL(file));
    audio.preservesPitch = true;
    audio.playbackRate = this.rate;
    audio.currentTime = this.#at - call.began;
    for (const name of ["play", "pause", "ended", "seeked", "timeupdate"]) audio.addEventListener(name, () => this.tell());
    audio.addEventListener("error", () => console.warn("antiphon: this browser can't play", source.dataset.type));
    this.#audio = audio;
    this.#wire(audio);
  }

  // Each voice has a channel of its own in the file, and is heard in both ears.
  #wire(audio) {
    const context = new AudioContext();
    const voices = context.createChannelSplitter(2);
    context.createMediaElementSource(audio).connect(voices);
    for (const [channel, voice] of ["user", "model"].entries()) {
      this.#gains[voice] = context.createGain();
      voices.connect(this.#gains[voice], channel).connect(context.destination);
    }
    this.#setGains();
    audio.addEventListener("play", () => context.resume());
  }

  #setGains() {
    for (const [voice, gain] of Object.entries(this.#gains)) gain.gain.value = this.muted[voice] ? 0 : 1;
  }
})();
