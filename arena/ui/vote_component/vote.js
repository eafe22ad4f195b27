// The voting surface. Streamlit calls the default export when it mounts the element and again with each new `data`;
// what must live between those calls is a Surface, one per mounted element.

const KEYS = {
  arrowleft: "left", a: "left", arrowright: "right", b: "right", arrowup: "tie", t: "tie", arrowdown: "both_bad",
  n: "both_bad", s: "skip", u: "undo", z: "zoom", x: "swap", f: "report",
};
const TOOLS = ["undo", "zoom", "swap", "report"];
const OTHER = { left: "right", right: "left" };
const SIDES = ["left", "right"];
const LETTERS = { left: "A", right: "B" };
const STORED = "arena-unacked-acts";
const RESEND_MS = 2500;
const MOST_ACTS = 64; // that the server reads at once
const PATIENCE_MS = 10000; // for an answer to a post
const SILENCE_MS = 5000; // after that an unanswered act is worth a word
const RETRY_MS = [500, 1000, 2000, 4000, 8000, 16000];
const AWAY_MS = 1000;
const FLASH_MS = 160;
const LONG_PROMPT = 110; // characters: about what fits in the large type
const SWIPE_PX = 60;
const SILENT = "No answer from the server. Your last votes are kept here and will be sent as soon as it is back.";
const TOUCH_HINT = matchMedia("(pointer: coarse)").matches ? "Swipe to the better one, left or right. " : "";
const BLIND_HINT = `${TOUCH_HINT}Who made them is told after your vote.`;
const NAMED_HINT = "The makers are shown, so an answer is kept, and counts on no leaderboard.";

const surfaces = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const surface = surfaces.get(parentElement) ?? new Surface(parentElement);
  surfaces.set(parentElement, surface);
  surface.send = data.post ? (acts) => surface.post(data.post, data.voter, acts) : (acts) => setTriggerValue("acts", acts);
  surface.go = (place) => setTriggerValue("place", place);
  if (surface.stamp !== data.stamp) surface.update(data);
  surface.stamp = data.stamp;
  return () => {
    surface.close();
    surfaces.delete(parentElement);
  };
}

class Surface {
  constructor(root) {
    this.el = root.querySelector(".surface");
    this.frames = [...root.querySelectorAll(".frame")];
    this.queue = []; // pairs in the order the server drew them; the first is on screen or about to be
    this.known = new Set(); // every token this surface has met: a pair is never shown twice
    this.shown = null; // the pair on screen
    this.paintedAt = null; // when it was painted; null means it may not be voted on
    this.last = null; // what an undo would take back: the pair, and whether it was voted on or skipped
    this.unacked = recall(); // acts the server has not confirmed
    this.sentAt = 0;
    this.silentSince = null;
    this.sitting = null;
    this.place = null;
    for (const act of this.unacked) this.known.add(act.token);
    this.zoom = new Zoom(this.$("dialog.zoom"));
    this.report = new Report(this.$("dialog.report"), (reason, side) => this.complain(reason, side));
    this.listen();
    stayClear(root);
    this.timer = setInterval(() => this.resend(), 500);
  }

  listen() {
    for (const button of this.el.querySelectorAll("[data-outcome]")) button.onclick = () => this.press(button.dataset.outcome);
    for (const button of this.el.querySelectorAll("[data-tool]")) button.onclick = () => this.use(button.dataset.tool);
    for (const frame of this.frames) frame.onclick = () => this.swiped || this.enlarge(frame.dataset.side);
    for (const select of this.el.querySelectorAll("select")) {
      select.onpointerdown = () => (this.pointed = true);
      select.onkeydown = () => (this.pointed = false);
      select.onchange = () => this.choose(select);
    }
    this.$(".pair").addEventListener("pointerdown", (event) => this.touch(event));
    this.$(".pair").addEventListener("pointerup", (event) => this.lift(event));
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
  }

  close() {
    document.removeEventListener("keydown", this.onKey);
    clearInterval(this.timer);
  }

  $(selector) {
    return this.el.querySelector(selector);
  }

  // --- what the server says

  update(data) {
    const acked = new Set(data.acked);
    this.unacked = this.unacked.filter((act) => !acked.has(act.id));
    remember(this.unacked);
    this.silentSince = this.unacked.length ? this.silentSince : null;
    if (data.place) this.arrive(data.place, data.categories);
    this.merge(data.queue);
    this.idle = data.idle;
    this.say(data.notice);
    if (data.reveal) this.tell(data.reveal);
    const reconnected = data.sitting && this.sitting !== data.sitting;
    if (reconnected && data.last && !this.last && !this.unacked.length) this.last = { pair: blank(data.last), did: "vote" };
    this.sitting = data.sitting ?? this.sitting;
    if (reconnected) this.flush();
    this.advance();
  }

  // One post at a time, so that acts are performed in their order; what was done meanwhile goes with the next one.
  async post(address, voter, all) {
    if (this.posting) return;
    this.posting = true;
    const acts = all.slice(0, MOST_ACTS);
    const place = this.place;
    const returning = this.queue.some((pair) => pair.undone || pair.returning);
    try {
      const answer = await fetch(address, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ acts, place, returning, voter }),
        keepalive: true, // a page that is left or closed still delivers its last vote
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      const news = await answer.json();
      if (!answer.ok) this.say(news.notice);
      else if (place === this.place) this.update(news);
      else this.update({ ...news, queue: this.queue }); // these pairs are of the place that was left
    } catch (error) {
      console.warn("The votes could not be sent yet; they will be sent again.", error);
      return;
    } finally {
      this.posting = false;
    }
    if (this.unacked.some((act) => !acts.includes(act))) this.flush();
  }

  // In another category, or with names, the pairs on hand are the wrong ones.
  arrive(place, categories) {
    if (this.place && (this.place.category !== place.category || this.place.names !== place.names)) {
      this.queue = [];
      this.shown = null;
      this.paintedAt = null;
      this.last = null;
      this.known = new Set(this.unacked.map((act) => act.token));
    }
    this.place = place;
    this.el.dataset.category = place.category ?? "";
    this.el.dataset.mode = place.names ? "names" : "";
    this.$(".places").hidden = !categories.length;
    const options = [new Option("All categories", ""), ...categories.map((name) => new Option(name, name))];
    const same = options.map((one) => one.value).join("\n") === [...this.$(".category")].map((one) => one.value).join("\n");
    if (!same) this.$(".category").replaceChildren(...options);
    this.$(".category").value = place.category ?? "";
    this.$(".mode").value = place.names ? "names" : "";
  }

  // The server's list is the truth: what it no longer holds (voted in another tab, withdrawn) leaves the queue,
  // except the pair under the voter's eyes.
  merge(offered) {
    const open = new Set(offered.map((pair) => pair.token));
    const back = new Map(offered.map((pair) => [pair.undone, pair]));
    for (const pair of this.queue.filter((one) => one.returning)) this.give(pair, back.get(pair.token));
    this.queue = this.queue.filter((pair) => (pair === this.shown && !pair.gone) || pair.returning || open.has(pair.token));
    if (this.shown?.gone) this.shown = null;
    for (const offer of offered) {
      if (this.known.has(offer.token)) continue;
      this.known.add(offer.token);
      const pair = { ...offer, images: null, tries: 0, swapped: false };
      offer.undone ? this.queue.unshift(pair) : this.queue.push(pair);
      this.load(pair);
    }
  }

  // A pair whose vote was taken back comes under a new token and with names; until then it cannot be voted on.
  give(pair, offer) {
    const asked = this.unacked.some((act) => act.do === "undo" && act.token === pair.token);
    if (!offer && asked) return;
    pair.returning = false;
    if (!offer) {
      pair.gone = true;
      return;
    }
    this.known.add(offer.token);
    Object.assign(pair, offer);
    if (!pair.images) this.load(pair);
    if (pair === this.shown) this.show(pair);
  }

  async load(pair) {
    const images = SIDES.map((side) => Object.assign(new Image(), { src: pair[side], draggable: false }));
    try {
      await Promise.all(images.map((image) => image.decode()));
    } catch {
      await this.loadAgain(pair);
      return;
    }
    pair.images = images;
    this.advance();
  }

  // Without a network the pair waits for it; a picture that is refused is asked for some more times.
  async loadAgain(pair) {
    const reached = await fetch(pair.left).then(() => true, () => false);
    const wait = reached ? RETRY_MS[pair.tries++] : AWAY_MS;
    if (wait === undefined) this.giveUp(pair);
    else setTimeout(() => this.queue.includes(pair) && this.load(pair), wait);
  }

  giveUp(pair) {
    if (!this.queue.includes(pair)) return;
    this.queue = this.queue.filter((other) => other !== pair);
    this.cast({ do: "skip", token: pair.token });
    this.say("A picture would not load, so that pair was skipped.");
    this.advance();
  }

  // --- what is on screen

  // Both pictures are swapped in one go, and only once both are decoded.
  advance() {
    if (this.shown) return;
    const next = this.queue.find((pair) => pair.images || pair.tries === 0); // a pair that failed once waits aside
    if (!next?.images) return this.wait();
    this.queue = [next, ...this.queue.filter((pair) => pair !== next)];
    this.show(next);
  }

  wait() {
    const finished = this.idle && !this.queue.length && !this.unacked.length;
    this.el.dataset.state = finished ? "idle" : "waiting";
    this.el.ariaBusy = String(!finished);
    delete this.el.dataset.token;
    this.$(".idle").textContent = finished ? this.idle : "Fetching the next pair…";
    if (finished) this.$(".prompt").textContent = "";
    this.offer();
  }

  show(pair) {
    this.arrange(pair);
    this.$(".prompt").textContent = pair.prompt;
    const [prompt, long] = [this.$(".prompt"), pair.prompt.length > LONG_PROMPT];
    prompt.classList.toggle("long", long);
    // One that does not fit scrolls, also without a mouse; on all others every arrow is a vote.
    if (long && prompt.scrollHeight > prompt.clientHeight) prompt.tabIndex = 0;
    else prompt.removeAttribute("tabindex");
    this.$(".prompt").scrollTop = 0;
    this.$(".live").textContent = `New pair. ${pair.prompt}`;
    this.$(".idle").textContent = "";
    this.$(".hint").textContent = pair.names ? NAMED_HINT : BLIND_HINT;
    this.el.dataset.state = "voting";
    this.el.dataset.token = pair.token;
    this.el.ariaBusy = "true";
    this.shown = pair;
    this.paintedAt = null;
    this.offer();
    if (pair.returning) return;
    // The second frame callback runs after the frame that carries the new pair has been painted.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        if (this.shown !== pair || pair.returning) return;
        this.paintedAt = performance.now();
        this.el.ariaBusy = "false";
      }),
    );
  }

  arrange(pair) {
    SIDES.forEach((place, i) => {
      const side = onScreen(pair, place);
      const image = pair.images[SIDES.indexOf(side)];
      image.alt = `Picture ${LETTERS[place]}`;
      this.frames[i].replaceChildren(image);
      this.el.querySelectorAll("figcaption")[i].replaceChildren(...caption(place, pair.names?.[SIDES.indexOf(side)]));
    });
  }

  // What can be done just now.
  offer() {
    const pair = this.shown;
    for (const button of this.el.querySelectorAll("[data-tool]")) {
      const able = { undo: this.last, zoom: pair, swap: pair, report: pair && !pair.names && !pair.returning };
      button.disabled = !able[button.dataset.tool];
    }
  }

  say(sentence) {
    if (this.$(".notice").textContent !== (sentence ?? "")) this.$(".notice").textContent = sentence ?? "";
  }

  hideReveal() {
    this.told = null;
    this.$(".reveal").hidden = this.$(".why").hidden = this.$(".tags").hidden = true;
  }

  tell(told) {
    this.$(".reveal").hidden = this.$(".why").hidden = false;
    this.$(".tags").hidden = !told.tags.length;
    if (told.token === this.told) return;
    this.told = told.token;
    this.$(".verdict").textContent = told.verdict;
    this.$(".crowd").textContent = told.crowd;
    this.$(".why").textContent = told.why;
    this.el.querySelectorAll(".maker").forEach((maker, i) => {
      const side = told.sides[i];
      maker.querySelector("img").src = side.image;
      for (const part of ["name", "elo", "gain"]) maker.querySelector(`.${part}`).textContent = side[part];
    });
    this.$(".tags").replaceChildren(...told.tags.map((tag, i) => this.tagButton(told.token, tag, i + 1)));
  }

  tagButton(token, { tag, text }, number) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.dataset.tag = tag;
    button.setAttribute("aria-keyshortcuts", number);
    button.setAttribute("aria-pressed", "false");
    const key = Object.assign(document.createElement("kbd"), { textContent: number });
    button.append(key, Object.assign(document.createElement("span"), { textContent: text }));
    button.onclick = () => {
      if (button.ariaPressed === "true") return; // a reason is only ever added
      button.ariaPressed = "true";
      this.cast({ do: "tag", token, tag });
    };
    return button;
  }

  // --- what the voter does

  key(event) {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.defaultPrevented) return;
    const target = event.composedPath()[0];
    if (takesText(target) || (target === this.$(".prompt") && /^Arrow(Up|Down)$/.test(event.key))) return;
    const dialog = [this.zoom, this.report].find((one) => one.el.open);
    if (dialog) return dialog.key(event);
    if (this.el.dataset.state === "idle" && event.key.toLowerCase() !== "u") return;
    const button = /^[1-9]$/.test(event.key) && this.el.querySelectorAll(".tags:not([hidden]) button")[event.key - 1];
    const what = KEYS[event.key.toLowerCase()];
    if (!button && !what) return;
    event.preventDefault();
    if (button) button.click();
    else if (TOOLS.includes(what)) this.use(what);
    else this.press(what);
  }

  press(choice) {
    if (this.paintedAt === null) return;
    const seconds = (performance.now() - this.paintedAt) / 1000;
    this.flash(choice);
    const pair = this.leave();
    this.last = pair.names ? null : { pair, did: choice === "skip" ? "skip" : "vote" };
    this.advance();
    const outcome = pair.swapped ? (OTHER[choice] ?? choice) : choice;
    if (choice === "skip") this.cast({ do: "skip", token: pair.token });
    else this.cast({ do: "vote", token: pair.token, outcome, seconds, swapped: pair.swapped });
    // What is still told is of an earlier vote: a reason given now might be meant for this one.
    for (const button of this.el.querySelectorAll(".tags button")) button.disabled ||= choice !== "skip";
    this.offer();
  }

  // The pair on screen is done with.
  leave() {
    const pair = this.shown;
    this.queue = this.queue.filter((other) => other !== pair);
    this.shown = null;
    this.paintedAt = null;
    return pair;
  }

  flash(outcome) {
    const button = this.$(`button[data-outcome="${outcome}"]`);
    button.classList.add("pressed");
    setTimeout(() => button.classList.remove("pressed"), FLASH_MS);
  }

  use(tool) {
    if (this.$(`[data-tool="${tool}"]`).disabled) return;
    ({ undo: () => this.undo(), zoom: () => this.enlarge("left"), swap: () => this.swap(), report: () => this.report.open() })[tool]();
  }

  undo() {
    const { pair, did } = this.last;
    this.last = null;
    this.shown = null;
    if (this.told === pair.token) this.hideReveal();
    pair.returning = did === "vote";
    this.queue = [pair, ...this.queue];
    this.cast({ do: "undo", token: pair.token });
    this.advance();
  }

  swap() {
    this.shown.swapped = !this.shown.swapped;
    this.arrange(this.shown);
    this.$(".live").textContent = "Sides swapped.";
  }

  enlarge(place) {
    if (this.shown) this.zoom.open(this.shown, place);
  }

  complain(reason, place) {
    if (!this.shown || this.shown.names) return;
    const pair = this.leave();
    this.last = null;
    this.advance();
    this.cast({ do: "report", token: pair.token, reason, side: place === "both" ? null : onScreen(pair, place) });
  }

  // Who chose with a pointer wants the arrows to vote again; on the keyboard they go on choosing.
  choose(select) {
    if (this.pointed) select.blur();
    this.go({ category: this.$(".category").value || null, names: this.$(".mode").value === "names" });
  }

  // A swipe to the left says that the left picture is better, one to the right the right one.
  touch(event) {
    this.swiped = false;
    this.from = event.pointerType === "touch" ? event : null;
  }

  lift(event) {
    if (!this.from || this.from.pointerId !== event.pointerId) return;
    if (visualViewport.scale > 1.01) return; // a finger moves an enlarged page about
    const [dx, dy] = [event.clientX - this.from.clientX, event.clientY - this.from.clientY];
    this.swiped = Math.abs(dx) > SWIPE_PX && Math.abs(dx) > 2 * Math.abs(dy);
    if (this.swiped) this.press(dx < 0 ? "left" : "right");
  }

  // --- what is told to the server: every unconfirmed act, again and again until it is confirmed

  cast(act) {
    this.unacked.push({ id: newId(), ...act });
    remember(this.unacked);
    this.flush();
  }

  flush() {
    if (!this.unacked.length) return;
    this.sentAt = performance.now();
    this.silentSince ??= this.sentAt;
    try {
      this.send(this.unacked.slice());
    } catch (error) {
      console.warn("The vote could not be sent yet; it will be sent again.", error);
    }
  }

  resend() {
    if (performance.now() - this.sentAt > RESEND_MS) this.flush();
    if (this.silentSince !== null && performance.now() - this.silentSince > SILENCE_MS) this.say(SILENT);
  }
}

// Both pictures of a pair, one at a time and as large as the window or the picture itself.
class Zoom {
  constructor(dialog) {
    this.el = dialog;
    this.image = dialog.querySelector("img");
    for (const button of dialog.querySelectorAll("[data-zoom]")) button.onclick = () => this.press(button.dataset.zoom);
    this.image.onclick = () => this.press("size");
  }

  open(pair, place) {
    this.pair = pair;
    this.actual(false);
    this.show(place);
    this.el.showModal();
  }

  // At first the picture that is there already, then the same one at full resolution.
  async show(place) {
    const small = this.pair[onScreen(this.pair, place)];
    const full = Object.assign(new Image(), { src: `${small}/full` });
    this.image.src = small;
    this.image.alt = `Picture ${LETTERS[place]}, enlarged`;
    this.place = place;
    for (const side of SIDES) this.el.querySelector(`[data-zoom="${side}"]`).ariaPressed = String(side === place);
    await full.decode().catch(() => {});
    if (full.naturalWidth && this.image.getAttribute("src") === small) this.image.src = full.src;
  }

  actual(on) {
    this.el.classList.toggle("actual", on);
    this.el.querySelector('[data-zoom="size"]').ariaPressed = String(on);
  }

  press(what) {
    if (what === "close") this.el.close();
    else if (what === "size") this.actual(!this.el.classList.contains("actual"));
    else this.show(what);
  }

  key(event) {
    const what = { arrowleft: "left", a: "left", arrowright: "right", b: "right", z: "size" }[event.key.toLowerCase()];
    if (!what || (event.key.startsWith("Arrow") && this.el.classList.contains("actual"))) return; // there arrows scroll
    event.preventDefault();
    this.press(what);
  }
}

// Escape closes it, as it does every dialog.
class Report {
  constructor(dialog, send) {
    this.el = dialog;
    this.send = send;
    for (const button of dialog.querySelectorAll("[data-reason]")) button.onclick = () => this.choose(button);
  }

  open() {
    this.el.querySelector("form").reset();
    this.el.showModal();
  }

  choose(button) {
    const side = this.el.querySelector("input:checked").value;
    this.el.close();
    this.send(button.dataset.reason, side);
  }

  key(event) {
    const button = /^[1-3]$/.test(event.key) && this.el.querySelectorAll("[data-reason]")[event.key - 1];
    if (!button) return;
    event.preventDefault();
    this.choose(button);
  }
}

// A pair voted on before this page was loaded: only an undo brings back its prompt and pictures.
function blank(token) {
  return { token, prompt: "", left: "", right: "", names: null, undone: null, images: null, tries: 0, swapped: false };
}

// New nodes for each pair: old ones would move when a name comes beside the letter.
function caption(place, name) {
  const letter = Object.assign(document.createElement("b"), { textContent: LETTERS[place] });
  const by = Object.assign(document.createElement("span"), { className: "by", textContent: name ? ` · ${name}` : "" });
  return [letter, by];
}

// Streamlit fades what it is about to draw again when that takes a while; pictures that are being judged must not fade.
function stayClear(root) {
  const host = root.getRootNode().host ?? root;
  host.closest('[data-testid="stElementContainer"]')?.style.setProperty("opacity", "1", "important");
}

// The side of the pair that is shown in a place.
function onScreen(pair, place) {
  return pair.swapped ? OTHER[place] : place;
}

function takesText(target) {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || target.matches("textarea, select, input:not([type=radio])");
}

function newId() {
  return Date.now().toString(36) + Math.random().toString(36).slice(2);
}

// A reload must not lose a press that the server has not confirmed. Storage may be forbidden: then only the page keeps it.
function remember(acts) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify(acts));
  } catch {}
}

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED)) ?? [];
  } catch {
    return [];
  }
}
