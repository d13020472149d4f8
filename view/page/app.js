// The page of `g2vlm view`: draws the state that the server sends, and sends commands.
"use strict";

const at = (id) => document.getElementById(id);
// Names this page's own view to the server.
const PAGE = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16)).join("");
at("scene").src = `/scene/${PAGE}/?darkMode`;
const waiting = new Map();
let line = null, state = null, sent = 0, shownNote = null, toastTimer = 0;
const drawnPictures = {};

function connect() {
  line = new WebSocket(`ws://${location.host}/live`);
  line.onopen = () => { at("veil").hidden = true; };
  line.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.state) { state = message.state; draw(); return; }
    const done = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.text) toast(message.text, !message.ok);
    if (done) done(message);
  };
  line.onclose = () => { at("veil").hidden = false; waiting.clear(); setTimeout(connect, 1000); };
}

function tell(command, values = {}) {
  return new Promise((done) => {
    if (!line || line.readyState !== WebSocket.OPEN) { done({ ok: false }); return; }
    const id = ++sent;
    waiting.set(id, done);
    line.send(JSON.stringify({ ...values, id, do: command }));
  });
}

function toast(text, bad) {
  const card = at("toast");
  card.textContent = text;
  card.classList.toggle("bad", Boolean(bad));
  card.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { card.hidden = true; }, 2500 + 60 * text.length);
}

// What the state says.

function draw() {
  document.title = `g2vlm view: ${state.title}`;
  at("title").textContent = state.title;
  at("title").title = state.title;
  drawScale(); drawCounts(); drawPlaying(); drawStatus(); drawPictures(); drawMarks(); drawAnswers(); drawLook();
  at("keeping").hidden = !["save", "load", "scale"].some(can);
  at("maps").replaceChildren(...(state.maps || []).map((name) => element("option", { value: name })));
  const newest = state.notes.length ? state.notes[state.notes.length - 1] : { number: 0 };
  if (shownNote !== null && newest.number > shownNote) toast(newest.text);
  shownNote = newest.number;
}

const can = (command) => state.commands.includes(command);

function drawScale() {
  const { metric, sigma, sources } = state.scale;
  at("scale").classList.toggle("metric", metric);
  at("scale-word").textContent = metric ? "METRES" : "UP TO SCALE";
  at("scale-detail").textContent = metric
    ? `± ${(100 * sigma).toFixed(sigma < 0.1 ? 1 : 0)} %, by ${sources.join(" + ") || "the map that was loaded"}`
    : "Lengths are in map units. Mark two places and give their distance to make them metres.";
}

function drawCounts() {
  const { keyframes, loops, points } = state.map;
  const parts = [count(keyframes, "keyframe"), count(loops, "loop"), count(points, "point")];
  if (state.viewers > 1) parts.push(count(state.viewers, "viewer"));
  at("counts-text").textContent = parts.join("  ·  ");
  at("thinned").textContent = state.map.thinned;
}

const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

function drawPlaying() {
  const playing = state.playing;
  at("pause").textContent = playing.paused ? "Play" : "Pause";
  at("pause").disabled = playing.ended || !can("pause");
  at("step").disabled = playing.ended || !can("step");
  at("speed").disabled = !playing.total || !can("speed");
  if (document.activeElement !== at("speed")) at("speed").value = String(playing.speed);
  at("progress").hidden = !playing.total;
  at("progress").value = playing.total ? playing.frames / playing.total : 0;
  const of = playing.total ? ` of ${playing.total.toLocaleString("en")}` : "";
  const end = playing.ended ? "  ·  the end" : playing.paused ? "  ·  paused" : "";
  const pass = playing.pass_ms > 0 ? `  ·  ${playing.pass_ms} ms a pass` : "";
  at("progress-text").textContent = `frame ${playing.frames.toLocaleString("en")}${of}${pass}${end}`;
}

function drawStatus() {
  const { degraded, reasons } = state.status;
  at("status").classList.toggle("degraded", degraded);
  at("status-word").textContent = !reasons.length ? "All is well"
    : degraded ? "Something needs attention" : "It works, with remarks";
  redraw(at("reasons"), reasons, () => reasons.map((reason) => {
    const item = element("li", { title: reason.code });
    item.append(reason.title, element("small", { textContent: reason.text }));
    return item;
  }));
}

function drawPictures() {
  const { keyframe, current } = state.pictures;
  at("no-frame").hidden = Boolean(keyframe);
  show("keyframe", keyframe, keyframe);
  show("depth", keyframe, keyframe);
  show("current", current, current !== "0" && current);
  at("current-why").textContent = state.pictures.why && `No current frame: ${state.pictures.why}.`;
}

function show(name, version, there) {
  if (drawnPictures[name] === version) return;
  drawnPictures[name] = version;
  const image = at(name);
  image.hidden = !there;
  if (there) image.src = `/picture/${name}?${version}`;
}

function drawMarks() {
  const here = state.marks.filter((mark) => mark.stamp === state.pictures.keyframe && mark.x >= 0);
  redraw(at("labels-on-frame"), here, () => here.map((mark) => {
    const dot = element("b", { textContent: mark.label });
    dot.style.left = `${100 * mark.x}%`;
    dot.style.top = `${100 * mark.y}%`;
    return dot;
  }));
  at("mark-list").textContent = state.marks.length ? `marked: ${state.marks.map((m) => m.label).join(", ")}`
    : "click on the picture to mark a place";
  at("pick").setAttribute("aria-pressed", String(state.picking));
  at("pick").disabled = !can("pick");
  at("unmark").disabled = !state.marks.length;
}

function drawAnswers() {
  at("send").textContent = state.asking ? "…" : "Ask";
  redraw(at("answers"), state.answers, () => state.answers.slice().reverse().map(answerCard));
}

const UNITS = { scene_unit: "map units", deg: "degrees" };

function withUnit(value, sigma, unit) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const digits = unit === "deg" ? 1 : 2;
  const spread = sigma === null || sigma === undefined ? "" : ` ± ${sigma.toFixed(digits)}`;
  return `${value.toFixed(digits)}${spread} ${UNITS[unit] || unit}`.trim();
}

function answerCard(answer, index) {
  const card = element("div", { className: `answer${answer.ok ? "" : " no"}${index ? " old" : ""}` });
  card.append(element("q", { textContent: answer.question }));
  const reply = answer.ok ? answer.reply || withUnit(answer.value, answer.sigma, answer.unit) : NOT_ANSWERED[answer.status];
  card.append(element("div", { className: "reply", textContent: reply || answer.status }));
  if (answer.ok) {
    const bar = element("div", { className: "sure" });
    const filled = element("i");
    filled.style.width = `${100 * answer.confidence}%`;
    bar.append(filled);
    card.append(bar);
  }
  const table = element("table");
  const row = (name, text) => {
    if (!text) return;
    const line_ = element("tr");
    line_.append(element("td", { textContent: name }), element("td", { textContent: text }));
    table.append(line_);
  };
  const sure = `${Math.round(100 * answer.confidence)} %`;
  if (answer.ok) row(answer.is_calibrated ? "probability that it is right" : "confidence, no probability", sure);
  const whose = { TEXT: "the model's words", GEOMETRY: "the reconstruction" };
  row("whose reading", whose[answer.source]);
  row("the model's words", answer.text);
  row("the reconstruction", answer.measured_choice || withUnit(answer.measured_value, answer.measured_sigma, answer.unit));
  row("the two", { AGREES: "agree", DISAGREES: "disagree" }[answer.cross_check]);
  row("", answer.message);
  card.append(table);
  return card;
}

const NOT_ANSWERED = {
  NO_SCENE: "Nothing has been seen yet", REJECTED: "Not a question that can be asked", TIMEOUT: "It took too long",
  OVERLOADED: "Too many questions", CANCELLED: "Cancelled", FAILED: "It failed",
  UNSUPPORTED: "This cannot be answered", ABSTAINED: "Not sure enough to say",
};

const LEGENDS = { confidence: ["unsure", "sure"], consistency: ["contradicted", "confirmed"], height: ["low", "high"] };
const rangeOf = (step) => (step >= 100 ? 0 : state.reach * (0.02 + 0.98 * (step / 100) ** 2));
const stepOf = (range) => (range <= 0 ? 100 : 100 * Math.sqrt(Math.max(0, (range / state.reach - 0.02) / 0.98)));

function drawLook() {
  const { look } = state;
  for (const button of at("modes").children) {
    button.setAttribute("aria-checked", String(button.dataset.mode === look.mode));
    button.setAttribute("role", "radio");
  }
  const legend = LEGENDS[look.mode];
  at("legend").hidden = !legend;
  if (legend) [at("legend-low").textContent, at("legend-high").textContent] = legend;
  const slider = (name, value, text) => {
    if (document.activeElement !== at(name) || !at(name).dataset.held) at(name).value = value;
    at(`${name}-out`).textContent = text;
  };
  slider("min_confidence", look.min_confidence, look.min_confidence.toFixed(2));
  slider("max_range", stepOf(look.max_range),
    look.max_range > 0 ? `${look.max_range.toFixed(1)} ${state.map.unit}` : "no limit");
  slider("size", look.size, `${look.size.toFixed(2)} ×`);
  for (const box of document.querySelectorAll("[data-look]")) box.checked = look[box.dataset.look];
  drawLacking();
  at("occupancy-why").textContent = state.occupancy || "";
}

// What this source has not stands there, without effect, and says why.
function drawLacking() {
  const why = [];
  for (const control of document.querySelectorAll("[data-mode], #step, #speed, #pick")) {
    const reason = state.lacking[control.dataset.mode || control.id] || "";
    if (control.dataset.mode) control.disabled = Boolean(reason);
    if (control.dataset.title === undefined) control.dataset.title = control.title;
    control.title = reason || control.dataset.title;
    if (reason && !why.includes(reason)) why.push(reason);
  }
  at("lacking").textContent = why.map((reason) => `Not here: ${reason}.`).join(" ");
}

// Only what changed: a list that is drawn anew loses its place and its focus.
function redraw(parent, what, make) {
  const key = JSON.stringify(what);
  if (parent.dataset.key === key) return;
  parent.dataset.key = key;
  parent.replaceChildren(...make());
}

const element = (name, values = {}) => Object.assign(document.createElement(name), values);

// What a person does.

at("pause").onclick = () => tell(state.playing.paused ? "play" : "pause");
at("step").onclick = () => tell("step");
at("speed").onchange = () => tell("speed", { speed: Number(at("speed").value) });
at("pick").onclick = () => tell("pick", { on: !state.picking });
at("unmark").onclick = () => tell("unmark");
at("fit").onclick = () => tell("fit", { page: PAGE });
at("frame").onclick = (event) => {
  const box = at("keyframe").getBoundingClientRect();
  if (!box.width) return;
  tell("mark", { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
};
at("ask").onsubmit = (event) => {
  event.preventDefault();
  const question = at("question").value.trim();
  if (question) tell("ask", { question, map: at("of-map").checked });
};
at("set-scale").onsubmit = (event) => {
  event.preventDefault();
  const metres = Number(at("metres").value.replace(",", "."));
  if (!at("metres").value.trim() || Number.isNaN(metres)) { toast("Give the distance in metres, as 1.25", true); return; }
  tell("scale", { metres });
};
at("save").onsubmit = (event) => { event.preventDefault(); tell("save", { name: at("map-name").value.trim() }); };
at("load").onclick = () => tell("load", { name: at("map-name").value.trim() });
for (const button of at("modes").children) button.onclick = () => tell("look", { mode: button.dataset.mode });
for (const box of document.querySelectorAll("[data-look]")) {
  box.onchange = () => tell("look", { [box.dataset.look]: box.checked });
}
for (const name of ["min_confidence", "max_range", "size"]) {
  let timer = 0;
  at(name).oninput = () => {
    at(name).dataset.held = "1";
    clearTimeout(timer);
    timer = setTimeout(() => {
      const value = Number(at(name).value);
      tell("look", { [name]: name === "max_range" ? rangeOf(value) : value }).then(() => { delete at(name).dataset.held; });
    }, 120);
  };
}

connect();
