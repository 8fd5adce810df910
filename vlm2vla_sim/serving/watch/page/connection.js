// The state of the session, from the server: `state`, and whether it still comes.
"use strict";

const SILENCE = 4000;  // [ms] without an event after which the connection counts as lost; one comes every second
const AGAIN = 2000;    // [ms] between two attempts

let state = {};        // the last state
let ahead = 0;         // [s] the server's clock minus the clock of this page
let heard = -SILENCE;  // [ms] when the last event came
let opened = 0;        // [ms] when the last attempt began
let source = null;
let lost = "";         // why nothing comes; "" while something does

const clock = () => performance.now() / 1000;
const serverTime = () => clock() + ahead;  // [s since 1970]

function connect() {
  source?.close();
  opened = performance.now();
  source = new EventSource("events");
  source.onmessage = (event) => {
    state = JSON.parse(event.data);
    heard = performance.now();
    ahead = state.now - clock();
    lost = "";
    draw();
  };
}

async function checkConnection() {
  const silent = performance.now() - Math.max(heard, 0);
  if (silent < SILENCE || performance.now() - opened < AGAIN) return;
  connect();
  try {
    const answer = await fetch("icon.svg", { cache: "no-store", signal: AbortSignal.timeout(AGAIN) });
    lost = answer.status === 401
      ? "This page's token is no longer valid. Open the address that vlm2vla watch prints."
      : "The server answers, but sends no state.";
  } catch {
    lost = "No connection to the server of this page.";
  }
  if (performance.now() - heard < SILENCE) lost = "";
  draw();
}
