// The head of the page, the details, the keys; and the start.

function header() {
  byId("name").textContent = call.file;
  const began = new Date(call.wall * 1000);
  const where = [began.toLocaleString(undefined, { dateStyle: "long", timeStyle: "medium" }), `${call.model} at ${call.provider}`, call.session];
  byId("about").append(where.join(" · "));
  if (!call.complete) byId("about").append(" · ", element("span", { className: "broken" }, "broken off: the process died"));
}

function statistics() {
  const waits = call.responses.map((response) => response.waited).filter((waited) => waited !== null);
  const cuts = call.spoken.filter((spoken) => spoken.cutAt !== null);
  const lost = things.filter((thing) => thing.kind === "gap" && thing.bad);
  const errors = things.filter((thing) => thing.kind === "mark" && thing.bad).length + call.responses.filter((response) => response.status === "failed").length;
  const { tokens } = call;
  const shown = [
    ["Length", clock(Math.round(call.ended - call.began))],
    ["User spoke", `${call.speech.length}×`],
    ["Responses", number(call.responses.length), "", "Of the model; one that calls a tool is followed by another"],
    waits.length && ["First sound", lasting(median(waits)), ` median of ${counted(waits.length, "turn")} · ${lasting(Math.max(...waits))} worst`, "Of each of the user's turns that was answered: from the end of the speech, as the server heard it (with the silence that told it), to the first sound"],
    cuts.length && ["Cut short", number(cuts.length), ` · ${lasting(cuts.reduce((sum, spoken) => sum + spoken.arrivedS - spoken.heardS, 0))} not heard`],
    call.tools.length && ["Tools", number(call.tools.length), ` · ${call.tools.filter((tool) => tool.failed).length} failed`],
    (tokens.input || tokens.output) && ["Tokens", `${roughly(tokens.input)} in · ${roughly(tokens.output)} out`, tokens.cached ? ` · ${roughly(tokens.cached)} cached` : ""],
    call.transcriptionTokens && ["Transcription", roughly(call.transcriptionTokens), " tokens"],
    tokens.cost !== null && ["Cost", money(tokens.cost), "", "Of the responses, at the prices that were given"],
    lost.length && ["Drops", number(lost.length), "", "How often the connection was lost", true],
    errors && ["Errors", number(errors), "", "", true],
  ];
  for (const [name, value, small, title, bad] of shown.filter(Boolean)) {
    const figure = element("dd", {}, value);
    if (small) figure.append(element("small", {}, small));
    byId("stats").append(element("div", { title: title ?? "", className: bad ? "bad" : "" }, element("dt", {}, name), figure));
  }
}

function details() {
  const { thing } = choice;
  const box = byId("detail");
  box.scrollTop = 0;
  if (!thing) return box.replaceChildren(...legend());
  const title = element("h2", { "--tint": `var(${thing.tint})` }, thing.title);
  const rows = element("dl", {});
  for (const [name, value] of thing.rows) rows.append(element("dt", {}, name), element("dd", {}, value));
  const heard = wordsOf.get(thing.item)?.heard ?? null;
  const words = thing.item && thing.text ? element("p", {}, ...wordsShown(thing.text, heard)) : null;
  box.replaceChildren(...[title, words, rows].filter(Boolean));
}

function legend() {
  const entries = [["--user-soft", "speech, as the server heard it"], ["--model-soft", "heard by the user"], ["--cut", "cut or never played", true], ["--wait", "waiting for first audio"], ["--response", "audio arriving"], ["--tool", "tool"], ["--gap", "no connection", true]];
  const list = element("div", { className: "legend" });
  for (const [tint, text, hatched] of entries) list.append(element("span", {}, element("i", { "--tint": `var(${tint})`, className: hatched ? "hatch" : "" }), text));
  return [element("p", { className: "idle" }, "Click anything to go there and see what is known of it."), list];
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  timeline.refresh();
}

function step(direction) {
  const events = things.filter((thing) => thing.kind !== "link");
  const at = events.indexOf(choice.thing);
  let next = events[at + direction];
  if (at < 0) next = direction > 0 ? events.find((thing) => thing.start >= player.time) : events.findLast((thing) => thing.start < player.time);
  if (!next) return;
  player.seek(next.start);
  view.reveal(next.start, next.end);
  choice.choose(next);
}

const seekBy = (seconds) => { player.seek(player.time + seconds); view.reveal(player.time); };
const zoomBy = (factor) => view.zoom(factor, player.time >= view.from && player.time <= view.to ? player.time : (view.from + view.to) / 2);
const seekTo = (t) => { player.seek(t); view.reveal(t); };

const KEYS = [
  [[" "], "play or pause", () => player.toggle()],
  [["ArrowLeft", "ArrowRight"], "1 s back or forth", (event) => seekBy(event.key === "ArrowLeft" ? -1 : 1)],
  [["Shift+ArrowLeft", "Shift+ArrowRight"], "10 s back or forth", (event) => seekBy(event.key === "ArrowLeft" ? -10 : 10)],
  [["Home", "End"], "to the beginning or end", (event) => seekTo(event.key === "Home" ? call.began : call.ended)],
  [["+", "-"], "zoom", (event) => zoomBy(event.key === "-" ? 1.5 : 1 / 1.5)],
  [["0"], "the whole call", () => view.fit()],
  [["n", "p"], "next or previous event", (event) => step(event.key === "n" ? 1 : -1)],
  [["/"], "search", () => byId("search").focus()],
  [["u", "m"], "mute the user or the model", (event) => player.mute(event.key === "u" ? "user" : "model")],
  [["d"], "light or dark", () => byId("theme").click()],
  [["Escape"], "choose nothing", () => choice.choose(null)],
  [["?"], "these keys", () => byId("help").showModal()],
];
const KEY_NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", "Shift+ArrowLeft": "⇧ ←", "Shift+ArrowRight": "⇧ →", "-": "−", Escape: "Esc" };

function keys() {
  const action = new Map(KEYS.flatMap(([names, , act]) => names.map((name) => [name, act])));
  document.addEventListener("keydown", (event) => {
    const writing = event.target.matches("input, select");
    if (event.ctrlKey || event.metaKey || event.altKey || writing || byId("help").open) return;
    if (event.key === " " && event.target.matches("button")) return;
    const act = action.get(event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key === "=" ? "+" : event.key);
    if (!act) return;
    event.preventDefault();
    act(event);
  });
  const rows = element("dl", {});
  for (const [names, text] of KEYS) {
    const shown = names.flatMap((name) => [element("kbd", {}, KEY_NAMES[name] ?? name), " "]);
    rows.append(element("dt", {}, ...shown), element("dd", {}, text));
  }
  rows.append(element("dt", {}, "wheel"), element("dd", {}, "zoom; with Shift: pan"), element("dt", {}, "drag"), element("dd", {}, "pan"));
  const close = element("button", { type: "button" }, "Close");
  close.addEventListener("click", () => byId("help").close());
  byId("help").append(element("h2", {}, "Keys"), rows, close);
}

function controls() {
  byId("play").disabled = byId("speed").disabled = !player.audible;
  if (!player.audible) byId("play").title = "This page was made without audio";
  byId("play").addEventListener("click", () => player.toggle());
  byId("speed").addEventListener("change", (event) => player.setRate(Number(event.target.value)));
  byId("before").addEventListener("click", () => step(-1));
  byId("after").addEventListener("click", () => step(1));
  byId("zoom-in").addEventListener("click", () => zoomBy(0.5));
  byId("zoom-out").addEventListener("click", () => zoomBy(2));
  byId("fit").addEventListener("click", () => view.fit());
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
}

function position() {
  byId("clock").replaceChildren(clock(player.time, 1), element("span", {}, ` / ${clock(call.ended, 1)}`));
  byId("play").classList.toggle("playing", player.playing);
  byId("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  log.follow(player.time);
}

// While it plays, the screen follows from frame to frame.
let following = false;
function follow() {
  following = player.playing;
  if (!following) return;
  view.follow(player.time);
  timeline.movePlayhead();
  position();
  requestAnimationFrame(follow);
}

controls();
header();
statistics();
details();
keys();
readColours();
log.start();
timeline.start();
choice.listen(details);
player.listen(() => { position(); if (!following) follow(); });
position();
performance.mark("antiphon-ready");
