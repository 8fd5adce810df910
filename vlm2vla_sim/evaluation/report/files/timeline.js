"use strict";
// One episode in the viewer: its picture, its timeline, and its words.

/** An element; text is never read as HTML. */
function make(name, values = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(values)) {
    if (key === "class") made.className = value;
    else if (key === "data") Object.assign(made.dataset, value);
    else made[key] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

const words = (text) => make("bdi", {}, String(text));
const stored = (id) => document.getElementById(id)?.textContent ?? "";
const seconds = (value) => (value < 10 ? value.toFixed(1) : value.toFixed(0)) + " s";

/** The address of a filmstrip, empty without one. */
const stripOf = (episode) => (episode.frames ? "data:image/jpeg;base64," + stored(`s${episode.n}`) : "");

const index = JSON.parse(stored("index"));

/** What of a decision deserves a look, in words. */
function troubles(decision) {
  const found = [];
  if (decision.error) found.push("the action text could not be read");
  if (decision.stages.some((stage) => stage.finish === "length")) found.push("an answer was cut off");
  if (decision.stages.some((stage) => stage.retries)) found.push("a request was sent again");
  for (const line of decision.disagree) found.push(`disagreement: ${line}`);
  return found;
}

/** A block of a lane from step to step of `total`. */
function block(from, to, total, text, kind) {
  const made = make("span", { class: kind, title: text }, words(text));
  made.style.left = `${(100 * from) / total}%`;
  made.style.width = `${(100 * Math.max(to - from, 0.2)) / total}%`;
  return made;
}

function lane(name, ...children) {
  return [make("div", { class: "lane-name" }, name), make("div", { class: "lane" }, ...children)];
}

function mark(at, total, sign, title) {
  const made = make("b", { title, class: at / total > 0.94 ? "end" : at / total < 0.06 ? "start" : "" }, sign);
  made.style.left = `${(100 * at) / total}%`;
  return made;
}

/** What the gripper was told, as a line between open (above) and closed. */
function gripperLine(changes, total) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${total} 24`);
  svg.setAttribute("preserveAspectRatio", "none");
  const high = (told) => 20 - 16 * told;
  const line = changes.map(([step, told], n) => (n ? `H${step}V${high(told)}` : `M${step} ${high(told)}`)).join("");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", `${line}H${total}`);
  svg.append(path);
  return svg;
}

/** The timeline. seek(step) is called where it is pressed. */
function timeline(episode, details, seek) {
  const total = Math.max(episode.steps, 1);
  const ends = details.decisions.map((_, n) => details.decisions[n + 1]?.step ?? total);
  const start = (n) => details.decisions[n].step ?? 0;
  const subtasks = [];
  details.decisions.forEach((decision, n) => {
    const last = subtasks.at(-1);
    if (last && last.name === (decision.subtask ?? "")) last.to = ends[n];
    else subtasks.push({ name: decision.subtask ?? "", from: start(n), to: ends[n] });
  });
  const names = [...new Set(subtasks.map((one) => one.name))];
  const colour = (name) => `r${names.indexOf(name) % 6}`;
  const decisions = details.decisions.map((decision, n) =>
    block(start(n), ends[n], total, `${n + 1} ${decision.plan || ""}`, troubles(decision).length ? "trouble" : colour(decision.subtask ?? "")));
  const flags = [];
  if (episode.first !== null) flags.push(mark(episode.first, total, "★", `first success at step ${episode.first}`));
  details.decisions.forEach((decision, n) => {
    if (troubles(decision).length) flags.push(mark(start(n), total, "⚠", `step ${start(n)}: ${troubles(decision).join(", ")}`));
  });
  flags.push(mark(total, total, episode.outcome === "success" ? "✓" : episode.outcome === "failure" ? "✕" : "■", episode.outcome));
  const cursor = make("div", { class: "cursor" });
  const made = make("div", { class: "lanes" },
    ...lane("Subtask", ...subtasks.map((one) => block(one.from, one.to, total, one.name || "–", colour(one.name)))),
    ...lane(`Decisions (${details.decisions.length})`, ...decisions),
    ...lane(details.gripper ? "Gripper command: open above, closed below" : "Gripper command: not known",
      ...(details.gripper ? [gripperLine(details.gripper, total)] : [])),
    ...lane("Flags: ★ first success, ⚠ trouble, ✓ ✕ end", ...flags), cursor);
  made.addEventListener("click", (event) => {
    const box = made.getBoundingClientRect();
    seek(Math.round((total * (event.clientX - box.left)) / box.width));
  });
  return { element: made, show(step) {
    cursor.style.left = `${(100 * Math.min(step, total)) / total}%`;
    const at = details.decisions.findLastIndex((decision) => (decision.step ?? 0) <= step);
    decisions.forEach((one, n) => one.classList.toggle("on", n === at));
    return at;
  } };
}

/** All words, decision by decision. */
function spoken(details, seek) {
  const items = details.decisions.map((decision, n) => {
    const written = decision.stages.length ? decision.stages : [
      { name: "plan", text: decision.plan ?? "" }, { name: "action", text: decision.action ?? "" }].filter((stage) => stage.text);
    const lines = written.map((stage) => make("div", { class: "stage" },
      make("span", {}, stage.name),
      make("span", { class: stage.name === "action" ? "code" : "" }, stage.text ?? "",
        make("span", { class: "soft" }, [stage.prompt_tokens && ` ${stage.prompt_tokens} tokens in`, stage.tokens && ` ${stage.tokens} tokens`, stage.seconds && ` ${seconds(stage.seconds)}`].filter(Boolean).join(",")),
        stage.error ? make("div", { class: "trouble-text" }, `rejected: ${stage.error}`) : "")));
    const found = troubles(decision);
    const item = make("li", {}, make("b", {}, `Step ${decision.step ?? "?"} `, words(decision.subtask ?? "")), ...lines,
      decision.error ? make("div", { class: "trouble-text" }, `could not be read: ${decision.error}`) : "",
      found.length ? make("div", { class: "flags" }, ...found.map((text) => make("span", { class: "trouble" }, text))) : "");
    item.addEventListener("click", () => getSelection().isCollapsed && seek(decision.step ?? 0, n));
    return item;
  });
  const list = make("ol", { class: "said" }, ...items);
  let current = -1;
  return { element: list, show(at) {
    if (at === current) return;
    items[current]?.classList.remove("on");
    items[at]?.classList.add("on");
    current = at;
    if (items[at]) list.scrollTo({ top: items[at].offsetTop - 8 });
  } };
}

/** What is known of the episode besides, as small labels. */
function facts(episode, details) {
  const share = (value) => (value === null || value === undefined ? "not known" : `${Math.round(100 * value)} %`);
  const agreed = details.words
    ? Object.entries(index.pairs).map(([key, name]) => `${name} agree: ${share(details.words[key])}`)
    : ["agreement of words and motion: not known"];
  const shown = [
    episode.why.includes(episode.far) ? "" : episode.far, `${episode.steps} steps`, seconds(episode.seconds),
    episode.tokens === null ? "" : `${episode.tokens} tokens`, `seed ${episode.seed}`, episode.tag,
    episode.progress === null ? "" : `operator: ${episode.progress} of 100`,
    episode.clipped ? `${episode.clipped} steps limited` : "", ...agreed,
  ].filter(Boolean).map((text) => make("span", {}, words(text)));
  if (episode.unread) shown.push(make("span", { class: "trouble" }, `${episode.unread} texts could not be read`));
  return make("div", { class: "flags" }, ...shown);
}
