"use strict";
// One rater's way through a study. With a server every trial and every answer goes over /api; in a file of its own the
// trials are in the page and the answers stay in this browser until they are saved.
(() => {
const about = JSON.parse(document.getElementById("about").textContent);
const $ = (id) => document.getElementById(id);
const KEYS = { ArrowLeft: "\u2190", ArrowRight: "\u2192", ArrowDown: "\u2193" };
const READY = "Press the space bar, or touch the field, when you are ready.";

// ---- what this browser remembers, so that a closed tab can be taken up again
const kept = (() => {
  const name = "study " + about.study;
  let memory = {};
  const read = () => { try { return JSON.parse(localStorage.getItem(name)) ?? memory; } catch { return memory; } };
  return {
    get: () => read(),
    set: (change) => {
      memory = { ...read(), ...change };
      try { localStorage.setItem(name, JSON.stringify(memory)); } catch { /* private windows: this tab only */ }
    },
    clear: () => { memory = {}; try { localStorage.removeItem(name); } catch { /* as above */ } },
  };
})();

class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

// ---- two sources of trials with the same four methods
const served = {
  started: () => Boolean(kept.get().token),
  async call(path, body) {
    let reply;
    try {
      reply = await fetch(path, {
        method: body === undefined ? "GET" : "POST", cache: "no-store",
        headers: { "Content-Type": "application/json", Authorization: "Bearer " + (kept.get().token ?? "") },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new Refused(0, "The server cannot be reached. Nothing is lost: try again in a moment.");
    }
    const value = await reply.json().catch(() => ({}));
    if (!reply.ok) throw new Refused(reply.status, value.error ?? "The server could not answer (" + reply.status + ").");
    return value;
  },
  async begin() { kept.set({ token: (await this.call("/api/begin", {})).token }); },
  async next() {
    const pending = kept.get().pending;
    if (pending) await this.send(pending);
    return this.call("/api/trial");
  },
  async answer(given) {
    kept.set({ pending: given });
    await this.send(given);
  },
  async send(given) {
    // the very same answer may be sent again after a lost reply: the server keeps it once
    for (let attempt = 0; ; attempt++) {
      try {
        await this.call("/api/answer", given);
        break;
      } catch (error) {
        if (error.status === 409 || error.status === 403 || error.status === 422) break; // what was kept before stands
        if (error.status && error.status !== 503 || attempt >= 5) throw error;
        await new Promise((go) => setTimeout(go, 300 * 2 ** attempt));
      }
    }
    kept.set({ pending: null });
  },
  address: (item) => "/stimulus/" + item,
};

const alone = {
  started: () => Boolean(kept.get().token),
  async begin() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const asked = Number.parseInt(location.hash.slice(1), 10);
    const count = about.assignments.length;
    const number = asked >= 1 && asked <= count ? asked - 1 : crypto.getRandomValues(new Uint32Array(1))[0] % count;
    kept.set({ token: [...bytes].map((b) => b.toString(16).padStart(2, "0")).join(""), assignment: number, answers: [] });
  },
  async next() {
    const { assignment, answers } = kept.get();
    const trials = about.assignments[assignment];
    const now = trials[answers.length];
    if (!now) return { done: true, of: trials.length };
    return { done: false, trial: now.id, position: answers.length, of: trials.length, items: now.items,
             exposure_ms: now.exposure_ms, ahead: (trials[answers.length + 1] ?? { items: [] }).items };
  },
  async answer(given) {
    const { answers, assignment } = kept.get();
    // another tab of this browser may have answered it
    if (about.assignments[assignment][answers.length]?.id === given.trial) kept.set({ answers: [...answers, given] });
  },
  address: (item) => about.items[item],
};
const source = about.assignments ? alone : served;

// ---- stimuli, loaded and decoded before they are needed
const loaded = new Map();
function load(item) {
  if (!loaded.has(item)) {
    const going = about.kind === "picture" ? picture(item) : about.kind === "text" ? words(item) : sound(item);
    going.catch(() => loaded.delete(item));
    loaded.set(item, going);
  }
  return loaded.get(item);
}
const fault = () => new Refused(0, "Something to be shown could not be loaded. Nothing is lost: try again in a moment.");
async function picture(item) {
  const image = new Image();
  image.draggable = false;
  image.src = source.address(item);
  try { await image.decode(); } catch { throw fault(); }
  return image;
}
async function words(item) {
  const address = source.address(item);
  if (address.startsWith("data:")) {
    return new TextDecoder().decode(Uint8Array.from(atob(address.split(",")[1]), (c) => c.charCodeAt(0)));
  }
  try { const reply = await fetch(address); if (!reply.ok) throw 0; return await reply.text(); } catch { throw fault(); }
}
async function sound(item) {
  const address = source.address(item);
  const audio = new Audio();
  audio.preload = "auto";
  if (address.startsWith("data:")) audio.src = address;
  else {
    try {
      const reply = await fetch(address);
      if (!reply.ok) throw 0;
      audio.src = URL.createObjectURL(await reply.blob());
    } catch { throw fault(); }
  }
  await new Promise((ready, no) => {
    audio.addEventListener("canplaythrough", ready, { once: true });
    audio.addEventListener("error", () => no(fault()), { once: true });
    audio.load();
    setTimeout(ready, 2000); // some telephones decode nothing before it is to be played; its bytes are here
  });
  return audio;
}

// ---- time by the screen's own frames
const frame = () => new Promise((go) => requestAnimationFrame(go));
async function frameLength(ms) {
  const at = [await frame()];
  while (at.at(-1) - at[0] < ms) at.push(await frame());
  const gaps = at.slice(1).map((t, i) => t - at[i]).sort((a, b) => a - b);
  return gaps[gaps.length >> 1];
}
let unseen = false;
document.addEventListener("visibilitychange", () => { unseen ||= document.hidden; });

// shown in one frame's callback, hidden in that of the frame nearest to the time asked for; what is recorded is the
// difference of the two frames' own times, whatever was asked
function expose(layer, after, asked, each) {
  const wanted = Math.max(1, Math.round(asked / each)) * each;
  return new Promise((over) => {
    requestAnimationFrame((begun) => {
      layer.classList.add("on");
      let frames = 0;
      const tick = (now) => {
        frames += 1;
        if (now - begun < wanted - each / 2) { requestAnimationFrame(tick); return; }
        layer.classList.remove("on");
        after?.classList.add("on");
        over({ shown_ms: now - begun, frames });
      };
      requestAnimationFrame(tick);
    });
  });
}

function mask(width, height, seed) {
  const canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height; canvas.className = "layer";
  const paint = canvas.getContext("2d");
  let state = seed >>> 0 || 1;
  const random = () => { state ^= state << 13; state ^= state >>> 17; state ^= state << 5; state >>>= 0; return state / 2 ** 32; };
  // noise of several grains: what is left on the eye may be coarse or fine
  for (const [grain, strength] of [[32, 1], [8, 0.6], [Math.max(2, width >> 7), 0.5]]) {
    paint.globalAlpha = strength;
    for (let y = 0; y < height; y += grain) for (let x = 0; x < width; x += grain) {
      paint.fillStyle = `rgb(${random() * 256 | 0} ${random() * 256 | 0} ${random() * 256 | 0})`;
      paint.fillRect(x, y, grain, grain);
    }
  }
  return canvas;
}

// ---- one trial
let current = null; // { trial, ready: since when an answer is taken, measured }
function choices() {
  const box = $("choices");
  box.className = { 3: "three", 5: "five" }[about.choices.length] ?? "";
  for (const choice of about.choices) {
    const button = document.createElement("button");
    button.type = "button";
    button.disabled = true;
    button.dataset.value = choice.value;
    button.append(choice.label);
    const key = document.createElement("kbd");
    key.textContent = KEYS[choice.key] ?? "key " + choice.key;
    key.setAttribute("aria-hidden", "true");
    button.setAttribute("aria-keyshortcuts", choice.key);
    if (about.choices.filter((c) => c.label === choice.label).length > 1) {
      button.setAttribute("aria-label", choice.label + " (" + choice.value + ")");
    }
    button.append(key);
    button.addEventListener("click", () => give(choice.value));
    box.append(button);
  }
}
function open(on) { for (const button of $("choices").children) button.disabled = !on; }

async function give(value) {
  if (!current || current.ready === null) return;
  const now = performance.now();
  const { trial, ready, measured } = current;
  current = null; // nothing more is taken for this trial
  open(false);
  const told = measured(now);
  const given = { trial: trial.trial, choice: value, measured: {
    response_ms: now - ready, shown_ms: told.shown_ms ?? null, frames: told.frames ?? null,
    frame_ms: told.frame_ms ?? null, hidden: unseen, plays: told.plays ?? 0 } };
  await safely(async () => { await source.answer(given); for (const i of trial.items) loaded.delete(i); await step(); });
}

const layOut = {
  picture(stage, stimuli) {
    stimuli.forEach((image, i) => { image.alt = stimuli.length > 1 ? ["left", "right"][i] + " picture" : "the picture";
      image.className = "one"; stage.append(image); });
    return {};
  },
  text(stage, stimuli) {
    stage.classList.add("text-stage");
    stimuli.forEach((text, i) => { const box = document.createElement("div"); box.className = "words"; box.tabIndex = 0;
      box.setAttribute("role", "article"); box.setAttribute("aria-label", stimuli.length > 1 ? ["Left", "Right"][i] : "Text");
      box.textContent = text; stage.append(box); });
    return {};
  },
  sound(stage, stimuli) {
    const heard = stimuli.map(() => 0);
    $("note").textContent = "Listen to " + (stimuli.length > 1 ? "both" : "it") + " to the end, then answer. Space plays.";
    const buttons = stimuli.map((audio, i) => {
      const button = document.createElement("button");
      button.type = "button"; button.className = "sound";
      button.append(stimuli.length > 1 ? ["Play left", "Play right"][i] : "Play");
      const state = document.createElement("small"); state.textContent = "not heard yet"; button.append(state);
      button.addEventListener("click", () => {
        stimuli.forEach((other) => { other.pause(); other.currentTime = 0; });
        for (const b of stage.children) b.classList.remove("playing");
        button.classList.add("playing"); audio.play();
      });
      audio.onended = () => { heard[i] += 1; state.textContent = "heard"; button.classList.remove("playing");
        if (heard.every(Boolean)) current?.open?.(); };
      stage.append(button);
      return button;
    });
    return { closed: true, plays: () => heard.reduce((a, b) => a + b, 0),
             space: () => (buttons[heard.findIndex((h) => !h)] ?? buttons[0]).click(),
             over: () => stimuli.forEach((audio) => audio.pause()) };
  },
};

async function plain(trial, stimuli) {
  const stage = $("stage");
  const laid = layOut[about.kind](stage, stimuli);
  const since = await frame();
  current = { trial, ready: null, space: laid.space,
    measured: (now) => { laid.over?.(); return { shown_ms: now - since, plays: laid.plays?.() }; } };
  const begin = () => { if (current && current.ready === null) { current.ready = performance.now(); open(true); } };
  if (laid.closed) current.open = begin; else begin();
}

async function glance(trial, stimuli) {
  const [image] = stimuli;
  const box = document.createElement("div");
  box.className = "glance";
  box.style.touchAction = "manipulation";
  image.alt = ""; image.className = "layer"; // a picture that is gone at once has nothing to be read out
  const cross = document.createElement("span");
  cross.className = "layer cross on"; cross.textContent = "+"; cross.setAttribute("aria-hidden", "true");
  const masks = [1, 2, 3, 4].map((k) => mask(image.naturalWidth, image.naturalHeight, parseInt(trial.trial.slice(0, 7), 16) + k));
  box.append(image, ...masks, cross);
  $("stage").append(box);
  $("note").textContent = READY;
  await new Promise((go) => { current = { trial, ready: null, space: go }; box.addEventListener("click", go, { once: true }); });
  $("note").textContent = "";
  current = { trial, ready: null };
  const each = await frameLength(500);
  unseen = document.hidden;
  cross.classList.remove("on");
  const told = { ...await expose(image, masks[0], trial.exposure_ms, each), frame_ms: each };
  const seen = unseen;
  for (let i = 0; i < masks.length; i++) await expose(masks[i], masks[i + 1], about.mask_ms / masks.length, each);
  await frame();
  unseen = seen; // what counts is whether the stimulus was in sight
  current = { trial, ready: performance.now(), measured: () => told };
  open(true);
}

async function step() {
  const trial = await source.next();
  show(trial.done ? "done" : "trial");
  $("bar").value = trial.done ? trial.of : trial.position;
  if (trial.done) { finish(); return; }
  $("count").textContent = `${trial.position + 1} of ${trial.of}`;
  $("stage").replaceChildren(); $("stage").className = ""; $("note").textContent = ""; open(false);
  const stimuli = await Promise.all(trial.items.map(load));
  unseen = document.hidden;
  $("question").focus({ preventScroll: true });
  const going = (about.timed ? glance : plain)(trial, stimuli);
  for (const item of trial.ahead) load(item).catch(() => {});
  await going;
}

function finish() {
  $("last").textContent = about.assignments
    ? "Your answers are in this browser only. Save them as a file and send it to whoever invited you."
    : "All your answers are kept. You may close this page.";
  $("saving").hidden = !about.assignments;
  $("thanks").focus();
}

function save() {
  const { token, assignment, answers } = kept.get();
  const text = JSON.stringify({ format: 1, study: about.study, token, assignment, answers });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `answers-${token.slice(0, 8)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- from panel to panel
function show(which) {
  for (const id of ["consent", "trial", "done", "problem"]) $(id).hidden = id !== which;
}
async function safely(work) {
  try { await work(); } catch (error) {
    if (error.status === 401) { kept.clear(); show("consent"); return; }
    if (error.status === 410) { show("done"); $("last").textContent = error.message; return; }
    $("fault").textContent = error instanceof Refused ? error.message : "This page met a fault of its own: " + error;
    show("problem");
    $("retry").focus();
  }
}
$("agree").addEventListener("click", async (event) => {
  event.currentTarget.disabled = true; // one rater a click, however often it is clicked
  await safely(async () => { await source.begin(); await step(); });
  $("agree").disabled = false;
});
$("retry").addEventListener("click", () => safely(step));
$("save").addEventListener("click", save);
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || $("trial").hidden || !current) return;
  const choice = about.choices.find((c) => c.key === event.key);
  if (choice && current.ready !== null) { event.preventDefault(); give(choice.value); }
  const elsewhere = event.target instanceof HTMLButtonElement; // there the space bar presses that button
  if (event.key === " " && current.space && !elsewhere) { event.preventDefault(); current.space(); }
});
choices();
if (source.started()) safely(step); else show("consent");
})();
