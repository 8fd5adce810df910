// The operator's buttons and keys.
"use strict";

const WAIT = 4000;  // [ms] for the server to accept a press
const SAID = 6000;  // [ms] for which it is shown that a press was sent
const STOPS = { stop_episode: "Stop of the episode", stop: "Stop of the session" };
const NAMES = { start: "Start", success: "Success", failure: "Failure", redo: "Redo", note: "Note", progress: "Progress", ...STOPS };
const KEYS = { s: "stop_episode", a: "stop", y: "success", n: "failure", r: "redo" };
const ASKED = { scene: ["start"], judge: ["success", "failure", "redo", "progress"] };

let stopSent = "";     // what is known of a stop until the session shows it: "sending", "sent" or "failed"
let stopButton = "";
let stopsBefore = 0;   // `state.stops` when it was pressed
let forget = 0;        // the timer of `SAID`
let scored = -1;       // the episode for which the slider was moved

const hasEpisode = () => Number.isInteger(state.episode);

function isUsable(button) {
  if (isOver() || !state.phase) return false;
  if (button in STOPS) return true;
  if (button === "note") return hasEpisode();
  if (!(ASKED[state.phase] || []).includes(button)) return false;
  return button !== "progress" || scored === state.episode;
}

function drawButtons() {
  by("for_scene").hidden = state.phase !== "scene" || isOver();
  by("for_judge").hidden = state.phase !== "judge" || isOver();
  by("note_form").hidden = !isUsable("note");
  for (const button of document.querySelectorAll("button")) button.disabled = !isUsable(button.id);
  if (scored !== state.episode || state.phase !== "judge") {
    scored = -1;
    by("score").value = 50;
    by("percent").textContent = "Move the slider";
    by("progress").textContent = "Record progress";
  }
  drawStops();
}

/** A stop is shown from the press until it has taken effect: sent, received by the session, acknowledged. */
function drawStops() {
  if (state.stops !== stopsBefore) stopSent = "";
  const own = {
    sending: `${STOPS[stopButton]}: sending`,
    sent: `${STOPS[stopButton]} sent.`,
    failed: `${STOPS[stopButton]} was NOT sent. Use the terminal or the robot's power switch.`,
  }[stopSent];
  by("stopped").textContent = own || state.stop || "";
  by("stopped").dataset.kind = stopSent;
  const waits = ["sending", "sent"].includes(stopSent);
  const received = stopSent ? "" : String(state.stop || "");
  const pressed = (id) => (waits && stopButton === id) || received.startsWith(STOPS[id]);
  for (const id in STOPS) by(id).setAttribute("aria-pressed", String(pressed(id)));
}

function say(text, bad = false) {
  by("said").textContent = text;
  by("said").toggleAttribute("data-bad", bad);
  clearTimeout(forget);
  if (!bad) forget = setTimeout(() => say(""), SAID);
}

/** Send a press; returns whether the server has written it. */
async function press(button, value) {
  if (!isUsable(button)) return false;
  const isStop = button in STOPS;
  if (isStop) { stopButton = button; stopSent = "sending"; stopsBefore = state.stops; drawStops(); }
  let problem = "";
  try {
    const answer = await fetch("press", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ button, episode: hasEpisode() ? state.episode : -1, value }),
      signal: AbortSignal.timeout(WAIT),
    });
    if (!answer.ok) problem = `not accepted: ${await answer.text()}`;
  } catch {
    problem = "not sent: the server of this page does not answer.";
  }
  if (isStop && stopSent) { stopSent = problem ? "failed" : "sent"; drawStops(); }
  if (problem || !isStop) say(problem ? `${NAMES[button]} ${problem}` : `${NAMES[button]}: sent`, Boolean(problem));
  return !problem;
}

async function sendNote(event) {
  event.preventDefault();
  const text = by("text").value.trim();
  if (text && await press("note", text)) {
    by("text").value = "";
    by("text").blur();
  }
}

function moveSlider() {
  scored = state.episode;
  by("percent").textContent = `${by("score").value} %`;
  by("progress").textContent = `Record ${by("score").value} %`;
  drawButtons();
}

/** Keys. Escape stops the episode wherever the cursor is; the others do not work while a note is written. */
function onKey(event) {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const inText = event.target === by("text");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Escape") { press("stop_episode"); return; }
  if (inText) return;
  if (key === "Enter" && event.target === by("score")) press("progress", Number(by("score").value));
  else if (key === "Enter" && event.target.tagName !== "BUTTON") press("start");
  else if (key === "p" && isUsable("success")) by("score").focus();
  else if (key === "t" && isUsable("note")) { event.preventDefault(); by("text").focus(); }
  else if (key in KEYS) press(KEYS[key]);
}

for (const button of document.querySelectorAll("button:not(#note)")) {
  button.addEventListener("click", (event) => {
    press(button.id, button.id === "progress" ? Number(by("score").value) : undefined);
    if (event.detail) button.blur();  // clicked, not chosen with the keyboard: Enter is the key of Start again
  });
}
by("note_form").addEventListener("submit", sendNote);
by("score").addEventListener("input", moveSlider);
document.addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && performance.now() - heard > SILENCE) connect();
});
setInterval(checkConnection, 500);
setInterval(drawTimes, 200);
connect();
draw();
