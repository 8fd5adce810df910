// The viewer: one episode, or two side by side, under one clock that counts control steps.

const RATE = 5;  // [steps/s] where there is no video that says it
const by = (id) => document.getElementById(id);
const viewer = by("viewer");
const clock = { step: 0, last: 0, playing: false, at: 0 };
let panels = [];
let around = { list: [], place: 0 };  // what Previous and Next go through: numbers, or pairs of them

const BADGES = { success: "success", failure: "failure", error: "error", aborted: "stopped", unknown: "not known" };
const badge = (episode) => make("span", { class: "badge", data: { outcome: episode.outcome } }, BADGES[episode.outcome] ?? episode.outcome);
const nameOf = (episode) => `${episode.task} ${episode.id}`;

/** The picture of an episode: its video, else its filmstrip, else why there is none. */
function picture(episode) {
  const frame = make("div", { class: "picture" });
  const strip = () => frame.replaceChildren(episode.frames
    ? make("img", { src: stripOf(episode), alt: `${episode.frames} frames of the episode` })
    : make("p", {}, words(episode.nostrip || "This episode has no video.")));
  if (!episode.video) {
    strip();
    return { element: frame, video: null };
  }
  const video = make("video", { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
  let address = episode.video;
  if (address === "in") {
    const bytes = Uint8Array.from(atob(stored(`v${episode.n}`)), (letter) => letter.charCodeAt(0));
    address = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
  }
  video.addEventListener("error", () => {
    strip();
    frame.append(make("p", {}, `The video cannot be played here: ${episode.video === "in" ? "it is damaged" : episode.video}`));
  });
  video.src = address;
  frame.append(video);
  return { element: frame, video, release: () => episode.video === "in" && URL.revokeObjectURL(address) };
}

function panelOf(episode, several) {
  const details = JSON.parse(stored(`e${episode.n}`));
  const shown = picture(episode);
  const line = timeline(episode, details, seek);
  const said = spoken(details, seek);
  const why = [episode.why, episode.reason].filter(Boolean).join("; ");
  const title = make("h3", {}, badge(episode), words(several ? index.runs[episode.run] : episode.instruction));
  const left = make("div", { class: "left" }, shown.element, line.element);
  const right = make("div", { class: "right" }, why ? make("p", { class: "why" }, words(why)) : "", facts(episode, details), said.element);
  const fps = episode.fps || RATE;
  return { episode, fps, video: shown.video, release: shown.release,
    show: (step) => said.show(line.show(step)), title, left, right };
}

/** Open one episode (a number) or a pair (two numbers); list: what Previous and Next go through. */
function open(wanted, list = [wanted]) {
  around = { list, place: Math.max(0, list.findIndex((one) => String(one) === String(wanted))) };
  const episodes = [wanted].flat().map((number) => index.episodes[number]);
  close_panels();
  panels = episodes.map((episode) => panelOf(episode, episodes.length > 1));
  by("panels").className = panels.length > 1 ? "two" : "one";
  by("panels").replaceChildren(...panels.map((panel) => make("div", { class: "panel" }, panel.title, panel.left, panel.right)));
  const first = episodes[0];
  const run = index.runs.length > 1 && episodes.length === 1 ? `, ${index.runs[first.run]}` : "";
  by("viewer_title").replaceChildren(words(`${nameOf(first)}${run}`));
  by("previous").disabled = by("next").disabled = list.length < 2;
  clock.last = Math.max(...episodes.map((episode) => episode.steps));
  by("at").max = clock.last;
  if (!viewer.open) viewer.showModal();
  viewer.scrollTop = 0;
  by("play").focus();
  play(false);
  seek(0);
}

function close_panels() {
  for (const panel of panels) {
    panel.video?.pause();
    panel.release?.();
  }
  panels = [];
}

function step_by(places) {
  const { list, place } = around;
  if (list.length > 1) open(list[(place + places + list.length) % list.length], list);
}

/** Go to a step: the pictures, the timelines and the words. */
function seek(step) {
  clock.step = Math.min(Math.max(step, 0), clock.last);
  for (const panel of panels) {
    if (panel.video) panel.video.currentTime = (clock.step + 0.01) / panel.fps;
  }
  show();
}

function show() {
  by("at").value = Math.floor(clock.step);
  by("at_step").textContent = `step ${Math.floor(clock.step)} of ${clock.last}`;
  for (const panel of panels) panel.show(Math.floor(clock.step));
}

function play(on) {
  if (on && clock.step >= clock.last) seek(0);
  clock.playing = on;
  clock.at = performance.now();
  by("play").textContent = on ? "Pause" : "Play";
  for (const panel of panels) {
    if (!panel.video) continue;
    panel.video.playbackRate = Number(by("speed").value);
    if (on) panel.video.play().catch(() => {});  // it was paused again before it began; its error has a listener
    else panel.video.pause();
  }
  if (on) requestAnimationFrame(tick);
}

/** The clock runs on its own; each video is put right when it drifts by more than half a step. */
function tick(now) {
  if (!clock.playing || !viewer.open) return;
  clock.step += ((now - clock.at) / 1000) * Number(by("speed").value) * (panels[0]?.fps ?? RATE);
  clock.at = now;
  for (const { video, fps } of panels) {
    const wanted = (clock.step + 0.01) / fps;
    if (video && !video.seeking && wanted < video.duration && Math.abs(video.currentTime - wanted) > 0.5 / fps) video.currentTime = wanted;
  }
  if (clock.step >= clock.last) {
    seek(clock.last);
    play(false);
    return;
  }
  show();
  requestAnimationFrame(tick);
}

by("play").addEventListener("click", () => play(!clock.playing));
by("at").addEventListener("input", () => seek(Number(by("at").value)));
by("speed").addEventListener("change", () => play(clock.playing));
by("close").addEventListener("click", () => viewer.close());
by("previous").addEventListener("click", () => step_by(-1));
by("next").addEventListener("click", () => step_by(1));
viewer.addEventListener("close", () => {
  if (viewer.open) return;  // it was opened again before it was told
  play(false);
  close_panels();
});
viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  const keys = { n: () => step_by(1), p: () => step_by(-1), " ": () => play(!clock.playing),
    ArrowRight: () => seek(Math.floor(clock.step) + 1), ArrowLeft: () => seek(Math.floor(clock.step) - 1),
    Home: () => seek(0), End: () => seek(clock.last) };
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || (event.key === " " && event.target.matches("button:not(#play)"))) return;
  event.preventDefault();
  act();
});
