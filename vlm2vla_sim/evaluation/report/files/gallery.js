// The gallery: filters, order, and a card for each episode.

const FILTERS = { run: "run", task: "task", outcome: "outcome", cause: "cause", tag: "tag" };
const ORDERS = {
  cause: ["by cause", (a, b) => a.group.localeCompare(b.group) || natural(a, b)],
  task: ["by task and number", (a, b) => natural(a, b)],
  steps: ["most steps first", (a, b) => b.steps - a.steps],
  seconds: ["longest first", (a, b) => b.seconds - a.seconds],
  tokens: ["most tokens first", (a, b) => (b.tokens ?? -1) - (a.tokens ?? -1)],
  unread: ["most unread texts first", (a, b) => b.unread - a.unread],
};
const tasks = [...new Set(index.episodes.map((episode) => episode.task))];
const natural = (a, b) => tasks.indexOf(a.task) - tasks.indexOf(b.task) || a.id - b.id || a.run - b.run;
const cards = [];
let shown = [];

const sizes = {};
for (const episode of index.episodes) sizes[episode.why] = (sizes[episode.why] ?? 0) + 1;
for (const episode of index.episodes) {
  // Causes by their number, successes last; a sort by text then keeps that order.
  const rank = episode.why ? 1e6 - sizes[episode.why] : 2e6;
  episode.group = `${String(rank).padStart(8, "0")} ${episode.why}`;
}

function cardOf(episode) {
  const strip = make("span", { class: "strip" }, episode.frames ? "" : episode.nostrip ? "video cannot be read" : "no video");
  const numbers = [`${episode.steps} steps`, seconds(episode.seconds), episode.tokens === null ? "" : `${episode.tokens} tokens`,
    episode.unread ? `${episode.unread} unread` : ""].filter(Boolean).join(", ");
  const why = [episode.why, episode.why.includes(episode.far) || episode.outcome === "success" ? "" : episode.far].filter(Boolean).join("; ");
  const made = make("button", { class: "card", type: "button", data: { n: episode.n } }, strip,
    make("span", { class: "facts" },
      make("span", { class: "name" }, words(nameOf(episode)), badge(episode)),
      index.runs.length > 1 ? make("span", { class: "what-run soft" }, words(index.runs[episode.run])) : "",
      why ? make("span", { class: "why" }, words(why)) : "",
      make("span", { class: "soft" }, episode.tag ? `${numbers}, ` : numbers, episode.tag ? words(episode.tag) : "")));
  made.addEventListener("click", () => open(episode.n, shown.map((one) => one.n)));
  return made;
}

/** Put the filmstrip into a card. */
function fill(card) {
  const episode = index.episodes[card.dataset.n];
  if (!episode.frames || card.dataset.filled) return;
  card.dataset.filled = "yes";
  const image = make("img", { alt: `frames of ${nameOf(episode)}`, decoding: "async", src: stripOf(episode) });
  image.width = 160 * episode.frames;
  card.firstChild.replaceChildren(image);
  card.firstChild.style.aspectRatio = String(episode.shape * episode.frames);
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) { fill(entry.target); seen.unobserve(entry.target); }
}, { rootMargin: "400px" });

function matches(episode) {
  for (const [id, key] of Object.entries(FILTERS)) if (by(id).value && String(episode[key]) !== by(id).value) return false;
  const wanted = by("words").value.trim().toLowerCase();
  return !wanted || `${nameOf(episode)} ${episode.instruction} ${episode.reason} ${episode.why} ${episode.far}`.toLowerCase().includes(wanted);
}

function draw() {
  const order = by("order").value;
  shown = index.episodes.filter(matches).sort(ORDERS[order][1]);
  const parts = [];
  let grid = null, group = null;
  for (const episode of shown) {
    if (!grid || (order === "cause" && episode.group !== group)) {
      group = episode.group;
      const count = shown.filter((one) => one.group === group).length;
      if (order === "cause") parts.push(make("h3", { class: "group" }, words(`${episode.why || "success"}: ${count}`)));
      grid = make("div", { class: "cards" });
      parts.push(grid);
    }
    cards[episode.n] ??= cardOf(episode);
    if (!cards[episode.n].dataset.filled) seen.observe(cards[episode.n]);
    grid.append(cards[episode.n]);
  }
  by("gallery").replaceChildren(...parts);
  by("count").textContent = `${shown.length} of ${index.episodes.length} episodes`;
}

function choices(id, values, all) {
  by(id).replaceChildren(make("option", { value: "" }, all), ...values.map(([value, text]) => make("option", { value }, text)));
}

function reset() {
  for (const id of [...Object.keys(FILTERS), "words"]) by(id).value = "";
  by("order").value = "cause";
}

const distinct = (key) => [...new Set(index.episodes.map((episode) => episode[key]).filter((value) => value !== ""))];
choices("run", index.runs.map((name, number) => [number, name]), "all");
choices("task", tasks.map((name) => [name, name]), "all");
choices("outcome", distinct("outcome").map((name) => [name, BADGES[name] ?? name]), "all");
choices("cause", distinct("cause").map((key) => [key, index.episodes.find((one) => one.cause === key).why]), "all");
choices("tag", distinct("tag").map((name) => [name, name]), "all");
by("order").replaceChildren(...Object.entries(ORDERS).map(([value, [text]]) => make("option", { value }, text)));
by("run_label").hidden = index.runs.length < 2;
by("tag_label").hidden = distinct("tag").length === 0;
by("filters").hidden = false;
reset();
if (index.episodes.some((episode) => episode.outcome === "failure")) by("outcome").value = "failure";
by("filters").addEventListener("submit", (event) => event.preventDefault());
by("filters").addEventListener("input", draw);
by("reset").addEventListener("click", () => { reset(); draw(); });
for (const link of document.querySelectorAll("a.filter")) {
  link.addEventListener("click", () => {
    reset();
    for (const [key, value] of Object.entries(link.dataset)) by(key).value = value;
    draw();
  });
}
const pairs = [...document.querySelectorAll("button.pair")];
const pairOf = (button) => button.dataset.pair.split(" ").map(Number);
for (const button of pairs) button.addEventListener("click", () => open(pairOf(button), pairs.map(pairOf)));
addEventListener("beforeprint", () => document.querySelectorAll(".card").forEach(fill));
draw();
performance.mark("drawn");
