// The voting surface. Streamlit calls the default export when it mounts the element and again with each new `data`;
// what must live between those calls is a Surface, one per mounted element.

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "tie", ArrowDown: "both_bad", s: "skip", S: "skip" };
const STORED = "arena-unacked-ballots";
const RESEND_MS = 2500;
const RETRY_MS = [500, 1000, 2000, 4000, 8000, 16000];
const FLASH_MS = 160;
const LONG_PROMPT = 110; // characters: about what fits in the large type

const surfaces = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const surface = surfaces.get(parentElement) ?? new Surface(parentElement);
  surfaces.set(parentElement, surface);
  surface.send = (ballots) => setTriggerValue("ballots", ballots);
  surface.update(data);
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
    this.unacked = recall(); // ballots the server has not confirmed
    this.sentAt = 0;
    this.sitting = null;
    for (const ballot of this.unacked) this.known.add(ballot.token);
    for (const button of root.querySelectorAll("button")) button.onclick = () => this.press(button.dataset.outcome);
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
    this.timer = setInterval(() => this.resend(), 500);
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
    this.unacked = this.unacked.filter((ballot) => !acked.has(ballot.token));
    remember(this.unacked);
    this.merge(data.queue);
    this.idle = data.idle;
    this.$(".notice").textContent = data.notice ?? "";
    if (data.reveal) this.reveal(data.reveal);
    const reconnected = this.sitting !== data.sitting;
    this.sitting = data.sitting;
    if (reconnected) this.flush();
    this.advance();
  }

  // The server's list is the truth: what it no longer holds (voted in another tab, withdrawn) leaves the queue,
  // except the pair under the voter's eyes.
  merge(offered) {
    const open = new Set(offered.map((pair) => pair.token));
    this.queue = this.queue.filter((pair) => pair === this.shown || open.has(pair.token));
    for (const offer of offered) {
      if (this.known.has(offer.token)) continue;
      this.known.add(offer.token);
      const pair = { ...offer, images: null, tries: 0 };
      this.queue.push(pair);
      this.load(pair);
    }
  }

  async load(pair) {
    const images = [pair.left, pair.right].map((url) => Object.assign(new Image(), { src: url, draggable: false }));
    try {
      await Promise.all(images.map((image) => image.decode()));
    } catch {
      const wait = RETRY_MS[pair.tries++];
      if (wait === undefined) this.giveUp(pair);
      else setTimeout(() => this.load(pair), wait);
      return;
    }
    images[0].alt = "Picture A";
    images[1].alt = "Picture B";
    pair.images = images;
    this.advance();
  }

  giveUp(pair) {
    if (!this.queue.includes(pair)) return;
    this.queue = this.queue.filter((other) => other !== pair);
    this.cast({ token: pair.token, outcome: "skip", seconds: null });
    this.$(".notice").textContent = "A picture would not load, so that pair was skipped.";
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
  }

  show(pair) {
    pair.images.forEach((image, i) => this.frames[i].replaceChildren(image));
    this.$(".prompt").textContent = pair.prompt;
    this.$(".prompt").classList.toggle("long", pair.prompt.length > LONG_PROMPT);
    this.$(".live").textContent = `New pair. ${pair.prompt}`;
    this.$(".idle").textContent = "";
    this.el.dataset.state = "voting";
    this.el.dataset.token = pair.token;
    this.el.ariaBusy = "true";
    this.shown = pair;
    this.paintedAt = null;
    // The second frame callback runs after the frame that carries the new pair has been painted.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        if (this.shown !== pair) return;
        this.paintedAt = performance.now();
        this.el.ariaBusy = "false";
      }),
    );
  }

  reveal(told) {
    this.$(".verdict").textContent = told.verdict;
    this.$(".why").textContent = told.why;
    this.el.querySelectorAll(".maker").forEach((maker, i) => {
      const side = told.sides[i];
      maker.querySelector("img").src = side.image;
      maker.querySelector(".name").textContent = side.name;
      maker.querySelector(".elo").textContent = side.elo;
      maker.querySelector(".gain").textContent = side.gain;
    });
    this.$(".reveal").hidden = false;
  }

  // --- what the voter does

  key(event) {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.defaultPrevented) return;
    const target = event.composedPath()[0];
    if (target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))) return;
    const outcome = KEYS[event.key];
    if (!outcome || this.el.dataset.state === "idle") return;
    event.preventDefault();
    this.press(outcome);
  }

  press(outcome) {
    if (this.paintedAt === null) return;
    const seconds = (performance.now() - this.paintedAt) / 1000;
    this.flash(outcome);
    const { token } = this.shown;
    this.queue = this.queue.filter((pair) => pair !== this.shown);
    this.shown = null;
    this.paintedAt = null;
    this.advance();
    this.cast({ token, outcome, seconds });
  }

  flash(outcome) {
    const button = this.$(`button[data-outcome="${outcome}"]`);
    button.classList.add("pressed");
    setTimeout(() => button.classList.remove("pressed"), FLASH_MS);
  }

  // --- what is told to the server: every unconfirmed ballot, again and again until it is confirmed

  cast(ballot) {
    this.unacked.push(ballot);
    remember(this.unacked);
    this.flush();
  }

  flush() {
    if (!this.unacked.length) return;
    this.sentAt = performance.now();
    try {
      this.send(this.unacked.slice());
    } catch (error) {
      console.warn("The vote could not be sent yet; it will be sent again.", error);
    }
  }

  resend() {
    if (performance.now() - this.sentAt > RESEND_MS) this.flush();
  }
}

// A reload must not lose a press that the server has not confirmed. Storage may be forbidden: then only the page keeps it.
function remember(ballots) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify(ballots));
  } catch {}
}

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED)) ?? [];
  } catch {
    return [];
  }
}
