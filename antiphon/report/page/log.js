// The transcript, with what happened between the words: it follows the playhead, and can be searched.

const REST = 4000; // milliseconds for which the list is left alone after someone has scrolled it

const log = new (class {
  #list = byId("log");
  #rows = []; // { item, start, end, thing, body, text, heard }
  #now = null;
  #scrolledAt = -REST;
  #last = 0;

  start() {
    const made = document.createDocumentFragment();
    for (const thing of things) {
      const row = this.#row(thing);
      if (!row) continue;
      made.append(row.item);
      this.#rows.push(row);
    }
    this.#list.append(made);
    if (!this.#rows.length) this.#list.append(element("li", { className: "nothing" }, "Nobody said anything."));
    for (const name of ["wheel", "touchmove", "pointerdown"]) this.#list.addEventListener(name, () => { this.#scrolledAt = performance.now(); }, { passive: true });
    byId("search").addEventListener("input", () => this.search());
    byId("search").addEventListener("keydown", (event) => this.#searchKey(event));
    this.#list.addEventListener("keydown", (event) => this.#walk(event));
    choice.listen(() => this.#choose());
  }

  #row(thing) {
    const spoken = ["speech", "spoken", "words"].includes(thing.kind);
    const words = thing.item ? wordsOf.get(thing.item) : null;
    if (thing.kind === "response" ? !thing.bad : thing.kind === "link") return null;
    if (spoken && !words) return null;
    const shade = spoken ? words.who : thing.kind === "tool" ? "tool aside" : "note aside";
    const text = words?.text ?? thing.text;
    const body = element("span", {});
    const button = element("button", { type: "button" }, element("time", {}, clock(thing.start)), element("div", {}, element("b", {}, thing.title), body));
    const item = element("li", { className: shade + (thing.bad ? " bad" : "") }, button);
    const row = { item, button, thing, body, text, heard: words?.heard ?? null };
    button.addEventListener("click", () => this.#click(row));
    row.body.append(...wordsShown(row.text, row.heard));
    return row;
  }

  #click(row) {
    player.seek(row.thing.start);
    view.reveal(row.thing.start, row.thing.end);
    choice.choose(row.thing);
  }

  search() {
    const wanted = byId("search").value.trim().toLowerCase();
    let found = 0;
    for (const row of this.#rows) {
      const fits = !wanted || row.text.toLowerCase().includes(wanted) || row.thing.title.toLowerCase().includes(wanted);
      row.item.hidden = !fits;
      found += fits;
      row.body.replaceChildren(...wordsShown(row.text, row.heard, wanted));
    }
    byId("found").textContent = wanted ? `${found} found` : "";
  }

  // Enter goes through what was found; Escape ends the search.
  #searchKey(event) {
    if (event.key === "Escape") {
      byId("search").value = "";
      this.search();
      byId("search").blur();
    } else if (event.key === "Enter") {
      const found = this.#rows.filter((row) => !row.item.hidden);
      const at = found.findIndex((row) => row.thing === choice.thing);
      if (found.length) this.#click(found.at((at + (event.shiftKey ? -1 : 1)) % found.length));
    } else return;
    event.preventDefault();
  }

  // Up and down go from row to row.
  #walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const seen = this.#rows.filter((row) => !row.item.hidden);
    const at = seen.findIndex((row) => row.button === document.activeElement);
    seen[clamp(at + step, 0, seen.length - 1)]?.button.focus();
    event.preventDefault();
    event.stopPropagation();
  }

  #choose() {
    for (const row of this.#rows) row.item.classList.toggle("chosen", row.thing === choice.thing);
    this.#show(this.#rows.find((row) => row.thing === choice.thing));
  }

  // The last words that have begun, while they last.
  follow(t) {
    const now = this.#rows.findLast((row) => row.thing.start <= t + 0.01 && (row.thing.kind === "speech" || row.thing.kind === "spoken") && t <= row.thing.end + 0.3) ?? null;
    if (now === this.#now) return;
    this.#now?.item.classList.remove("now");
    this.#now?.button.removeAttribute("aria-current");
    this.#now = now;
    now?.item.classList.add("now");
    now?.button.setAttribute("aria-current", "true");
    if (performance.now() - this.#scrolledAt > REST) this.#show(now);
  }

  #show(row) {
    if (!row || row.item.hidden) return;
    const { offsetTop, offsetHeight } = row.item;
    const list = this.#list;
    const top = offsetTop - list.offsetTop;
    if (top >= list.scrollTop + 20 && top + offsetHeight <= list.scrollTop + list.clientHeight - 40) return;
    const wanted = top - list.clientHeight / 3;
    const near = Math.abs(wanted - list.scrollTop) < list.clientHeight && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    list.scrollTo({ top: wanted, behavior: near ? "smooth" : "auto" });
  }
})();
