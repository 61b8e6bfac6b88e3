// The call: what the page was given, and the things in it that can be pointed at.

const call = JSON.parse(byId("call-data").textContent);
call.user.bins = bytes(call.user.peaks);
call.assistant.bins = bytes(call.assistant.peaks);
const wordsOf = new Map(call.words.map((words) => [words.item, words]));

const round = (t) => clock(t, 2);
const span = (start, end) => `${round(start)} – ${round(end)} (${lasting(end - start)})`;

// A thing has: kind, lane, start, end, tint (a CSS variable), title, rows ([name, value], for the details), and
// text (one line, for the tooltip). Things of one item share `item`.
function userSpoke(speech) {
  const words = wordsOf.get(speech.item);
  const end = speech.end ?? call.ended;
  const rows = [["Speech", span(speech.start, end) + ", as the server heard it"]];
  return { kind: "speech", lane: "user", start: speech.start, end, tint: "--user", title: "User", item: speech.item, text: words?.text ?? "", rows };
}

function modelSpoke(spoken) {
  const words = wordsOf.get(spoken.item);
  const start = spoken.heard.length ? spoken.heard[0][0] : (spoken.cutAt ?? responseOf(spoken)?.created ?? 0);
  const end = spoken.heard.length ? spoken.heard.at(-1)[1] : start;
  const unheard = spoken.arrivedS - spoken.heardS;
  const rows = [["Heard", spoken.heard.length ? span(start, end) + (spoken.estimated ? ", estimated: nobody told" : "") : "nothing"]];
  if (unheard > 0.1) rows.push([spoken.cutAt === null ? "Not played" : "Cut", `${lasting(spoken.heardS)} of ${lasting(spoken.arrivedS)} were heard; ${lasting(unheard)} were not`]);
  const response = responseOf(spoken);
  if (response) rows.push(...responseRows(response).filter(([name]) => name !== "Lasted"));
  return { kind: "spoken", lane: "model", start, end, tint: "--model", title: "Model", item: spoken.item, text: words?.text ?? "", rows, spoken, unheard };
}

const responseOf = (spoken) => call.responses.find((response) => response.id === spoken.response);

function tokenRows(tokens) {
  if (!tokens) return [];
  const cached = tokens.cached ? `, ${number(tokens.cached)} of them cached` : "";
  const rows = [["Tokens", `${number(tokens.input)} in${cached}; ${number(tokens.output)} out`]];
  if (tokens.audioInput || tokens.audioOutput) rows.push(["Audio tokens", `${number(tokens.audioInput)} in; ${number(tokens.audioOutput)} out`]);
  if (tokens.cost !== null) rows.push(["Cost", money(tokens.cost)]);
  return rows;
}

function responseRows(response) {
  const { created, done, firstAudio, firstHeard, waited, status, reason } = response;
  const rows = [["Lasted", span(created, done)]];
  if (waited !== null) rows.push(["The user waited", `${lasting(waited)} from the end of speech, as the server heard it, to the first sound`]);
  if (firstAudio !== null) rows.push(["First audio", `${lasting(firstAudio - created)} after the response was created`]);
  if (firstHeard !== null && firstAudio !== null) rows.push(["First sound", `${lasting(firstHeard - firstAudio)} after that`]);
  rows.push(["Ended", status + (reason ? ` (${reason})` : "")], ...tokenRows(response.tokens), ["Id", response.id]);
  return rows;
}

function responded(response) {
  const { created, done, firstAudio, status } = response;
  const rows = responseRows(response);
  const text = firstAudio === null ? status : `first audio after ${lasting(firstAudio - created)}, ${status}`;
  const bad = status === "failed" || status === "lost";
  return { kind: "response", lane: "responses", start: created, end: done, tint: bad ? "--bad" : "--response", title: "Response", text, rows, response, bad };
}

function toolRan(tool) {
  const end = tool.end ?? call.ended;
  const rows = [["Ran", tool.end === null ? `from ${round(tool.start)}, without an end` : span(tool.start, end)], ["Arguments", tool.arguments || "none"]];
  if (tool.end !== null) rows.push([tool.failed ? "Error" : "Output", tool.output || "nothing"]);
  if (tool.server) rows.push(["MCP server", tool.server]);
  return { kind: "tool", lane: "tools", start: tool.start, end, tint: tool.failed ? "--bad" : "--tool", title: tool.name, text: tool.output, rows, bad: tool.failed };
}

function linked(link) {
  const rows = [["Lasted", span(link.start, link.end)]];
  if (link.handshake !== null) rows.push(["Handshake", lasting(link.handshake)]);
  if (link.ended) rows.push(["Ended", link.ended + (link.code === null ? "" : ` (close code ${link.code})`) + (link.planned ? ", as planned" : "")]);
  if (link.restored) rows.push(...restoredRows(link.restored));
  return { kind: "link", lane: "links", start: link.start, end: link.end, tint: "--link", title: `Connection ${link.number}`, text: link.ended, rows };
}

function restoredRows(restored) {
  const rows = [["Without connection", lasting(restored.downtime)], ["Restored", counted(restored.items, "item") + (restored.degraded ? `, ${restored.degraded} of them as text instead of audio` : "")]];
  if (restored.lost) rows.push(["Not restored", counted(restored.lost, "item")]);
  if (restored.audioDroppedMs) rows.push(["Lost", `${Math.round(restored.audioDroppedMs)} ms of the user's voice`]);
  return rows;
}

// The time between two connections. Some overlap: a planned one is replaced before it ends.
function reconnected(link, next) {
  const start = Math.min(link.end, next.start);
  const rows = [["Why", link.ended + (link.code === null ? "" : ` (close code ${link.code})`)], ...(next.restored ? restoredRows(next.restored) : [["Restored", "nothing was reported"]])];
  const title = link.planned ? "Reconnected, as planned" : "Connection lost, reconnected";
  const text = next.restored ? `${lasting(next.restored.downtime)} without; ${counted(next.restored.items, "item")} restored` : link.ended;
  return { kind: "gap", lane: "links", start, end: next.start, tint: link.planned ? "--note" : "--gap", title, text, rows, bad: !link.planned };
}

function happened(mark) {
  return { kind: "mark", lane: "events", start: mark.t, end: mark.t, tint: mark.bad ? "--bad" : "--note", title: mark.title, text: mark.text, rows: [["At", round(mark.t)], ["What", mark.text]].filter(([, value]) => value), bad: mark.bad };
}

// Words that have no place in a voice's lane: typed ones, and a user's whose speech the server didn't mark.
function lone(words) {
  const who = { user: "User", model: "Model", system: "System" }[words.who];
  const tint = { user: "--user", model: "--model", system: "--note" }[words.who];
  const title = who + (words.typed && words.who !== "system" ? ", in writing" : "");
  return { kind: "words", lane: "events", start: words.t, end: words.t, tint, title, item: words.item, text: words.text, rows: [["At", round(words.t)]] };
}

const things = [
  ...call.speech.map(userSpoke),
  ...call.spoken.map(modelSpoke),
  ...call.responses.map(responded),
  ...call.tools.map(toolRan),
  ...call.links.map(linked),
  ...call.links.slice(1).map((link, index) => reconnected(call.links[index], link)),
  ...call.marks.map(happened),
].sort((a, b) => a.start - b.start);
const placed = new Set(things.map((thing) => thing.item).filter(Boolean));
things.push(...call.words.filter((words) => !placed.has(words.item)).map(lone));
things.sort((a, b) => a.start - b.start);

// Words as they are shown: what was not heard struck out, what is searched for marked.
function wordsShown(text, heard, wanted = "") {
  let border = heard === null ? text.length : Math.round(text.length * heard);
  if (border < text.length) border = text.lastIndexOf(" ", border) + 1;
  const shown = marked(text.slice(0, border), wanted);
  if (border === text.length) return shown;
  const title = "Not heard; where it begins is estimated from the audio";
  return [...shown, element("span", { className: "unheard", title }, ...marked(text.slice(border), wanted))];
}

function marked(text, wanted) {
  if (!wanted) return [text];
  const parts = [];
  const low = text.toLowerCase();
  let at = 0;
  for (let found = low.indexOf(wanted); found >= 0; found = low.indexOf(wanted, at)) {
    parts.push(text.slice(at, found), element("mark", {}, text.slice(found, found + wanted.length)));
    at = found + wanted.length;
  }
  return [...parts, text.slice(at)];
}

// What is chosen, for the details, the lanes and the transcript.
const choice = new (class extends Teller {
  thing = null;
  choose(thing) {
    if (thing === this.thing) return;
    this.thing = thing;
    this.tell();
  }
})();
