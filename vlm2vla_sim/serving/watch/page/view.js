// Shows the state.
"use strict";

const OLD = 3;  // [s] of a picture while the arm moves, after which it is called old

const by = (id) => document.getElementById(id);
const PHASES = {  // phase -> its name, kind, and what is said where the session asks nothing
  starting: ["Preparing", "", "The policy is being prepared."],
  resetting: ["To start pose", "moves", "The arm drives to its start."],
  scene: ["Your turn", "ask", ""],
  thinking: ["Thinking", "", "The model is thinking; the arm holds."],
  running: ["Moving", "moves", "The arm is moving."],
  judge: ["Your turn", "ask", ""],
  over: ["Session over", "", "The session is over."],
};

/** Whether the session has ended: it said so, or its process is gone. */
const isOver = () => state.phase === "over" || (Boolean(state.phase) && state.alive === false);

function draw() {
  const over = isOver();
  const [name, kind, sentence] = PHASES[over ? "over" : state.phase] || ["", "", ""];
  const died = over && state.phase !== "over";
  document.body.className = over ? "over" : state.phase || "";
  by("phase").textContent = name;
  by("phase").dataset.kind = over ? "" : kind;
  by("instruction").textContent =
    state.instruction || (state.phase ? "Waiting for the first episode" : "Waiting for the session");
  by("episode").textContent = state.episodes ? `Episode ${state.episode + 1} of ${state.episodes}, ${state.who}` : "vlm2vla";
  by("question").textContent = died
    ? "The session's process has ended without a word. Start it again with --resume."
    : state.question || sentence || "The session has not started.";
  for (const key of ["step", "subtask", "plan", "action", "motion"]) by(key).textContent = state[key] ?? "";
  if (by("step").textContent === "") by("step").textContent = "–";
  by("info").textContent = Object.entries(state.info || {})
    .filter(([, value]) => value !== "" && value !== false)
    .map(([key, value]) => `${key}: ${typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : value}`)
    .join(", ");
  by("wish").hidden = state.phase !== "scene" || !state.pictures?.wanted;
  showPicture("frame", state.pictures?.frame);
  if (state.phase === "scene") showPicture("wanted", state.pictures?.wanted);
  drawTimes();
  drawButtons();
}

/** What changes with time alone. */
function drawTimes() {
  const now = serverTime();
  const { phase, begun, since, thought } = state;
  const inEpisode = typeof begun === "number" && ["thinking", "running", "judge"].includes(phase);
  const thinks = phase === "thinking" ? now - since : 0;
  by("elapsed").textContent = inEpisode ? seconds((phase === "judge" ? since : now) - begun) : "–";
  by("thinking").textContent = inEpisode ? seconds((thought || 0) + thinks) : "–";
  by("wait").textContent = ["thinking", "resetting", "starting"].includes(phase) && since && !isOver() ? `For ${seconds(now - since)}.` : "";
  const taken = state.pictures?.time;
  const age = typeof taken === "number" ? now - taken : null;
  by("age").textContent = age === null || isOver() ? "" : phase === "thinking" && age > OLD
    ? `taken before this thought, ${seconds(age)} ago` : `${seconds(age)} old`;
  drawAlarm(age);
}

/** Red only where something is wrong. A picture ages while a model thinks or the robot waits, and nothing moves then. */
function drawAlarm(age) {
  const silent = (performance.now() - Math.max(heard, 0)) / 1000;
  const dead = silent * 1000 > SILENCE;
  document.body.classList.toggle("dead", dead);
  let alarm = "";
  if (dead) {
    by("phase").textContent = "No connection";
    by("phase").dataset.kind = "";
    alarm = `${lost || "No connection to the server of this page."} Nothing for ${seconds(silent)}. ` +
      "The session may be running: to stop it, use its terminal or the robot's power switch.";
  } else if (state.phase === "running" && !isOver() && age !== null && age > OLD) {
    alarm = `The arm moves, but the picture is ${seconds(age)} old.`;
  }
  by("alarm").hidden = !alarm;
  if (by("alarm").textContent !== alarm) by("alarm").textContent = alarm;
}

const loading = {};

/** Fetch a picture if it is another one than that on the page; one at a time, so that a slow link is not flooded. */
function showPicture(id, version) {
  const image = by(id);
  if (!version || loading[id] || image.dataset.version === version) return;
  loading[id] = true;
  const next = new Image();
  next.onload = () => {
    loading[id] = false;
    image.dataset.version = version;
    image.src = next.src;
    image.hidden = false;
    image.style.setProperty("--shape", next.naturalWidth / next.naturalHeight);
    if (id === "frame") by("none").hidden = true;
    showPicture(id, state.pictures?.[id]);
  };
  next.onerror = () => { loading[id] = false; };
  next.src = `${id}.jpg?v=${version}`;
}

/** "4.2 s", "1:05". */
function seconds(value) {
  const time = Math.max(0, value);
  if (time < 59.95) return `${time.toFixed(time < 10 ? 1 : 0)} s`;
  return `${Math.floor(time / 60)}:${String(Math.floor(time % 60)).padStart(2, "0")}`;
}
