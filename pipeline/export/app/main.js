// The application: photos come in, are read one by one, and each change is answered.

import { addressOf } from "./assets.js";
import { startEngine } from "./engine.js";
import { install, sharedFiles } from "./install.js";
import { openMemory } from "./memory.js";
import { saveJson, savePicture } from "./save.js";
import { say, show, showFaults, showInterests, showPhotos, showProgress } from "./view.js";
import { finding, progress } from "./words.js";

const $ = (id) => document.getElementById(id);
const state = (name) => (document.documentElement.dataset.state = name);

const engine = startEngine();
const set = { photos: [], faults: [], interests: [] };
const queue = { files: [], done: 0, total: 0, started: 0, busy: false };
let config = null;
let memory = null;
let next = 0; // order of the next photo
let removed = null; // the photo that was removed last

/** The set's interests, the most probable first, each with the photos that speak for it. */
async function interestsOf(photos) {
  const { probabilities, weights } = await engine.answer(photos.map((photo) => photo.vector));
  const labels = config.labels.length;
  const interests = config.labels.map((label, index) => ({
    label,
    probability: probabilities[index],
    threshold: config.thresholds[index],
    predicted: probabilities[index] >= config.thresholds[index],
    photos: photos
      .map((photo, position) => ({ photo, weight: weights[position * labels + index] }))
      .sort((a, b) => b.weight - a.weight),
  }));
  return interests.sort((a, b) => b.probability - a.probability);
}

/** Answers for the photos that are there; `compare`: show what has changed. */
async function refresh({ compare = false } = {}) {
  const before = new Map(compare ? set.interests.map(({ label, probability }) => [label, probability]) : []);
  const photos = [...set.photos];
  set.interests = photos.length ? await interestsOf(photos) : [];
  showInterests(set.interests, before);
  showPhotos(photos, remove);
  showFaults(set.faults);
  show("interests", photos.length > 0);
  show("album", photos.length > 0);
  show("actions", photos.length > 0);
  say("said", photos.length ? finding(set.interests, photos.length) : "");
}

async function take(file) {
  const known = new Set(set.photos.map((photo) => photo.digest));
  const { digest } = await engine.digest(file);
  if (known.has(digest)) return;
  const { vector, thumbnail } = await engine.read(file);
  const photo = { digest, name: file.name, vector, thumbnail, order: next++ };
  set.photos.push(photo);
  await memory.keep(photo);
}

function report() {
  const seconds = (performance.now() - queue.started) / 1000;
  const left = queue.done < 2 ? null : (seconds / queue.done) * (queue.total - queue.done);
  showProgress(queue.done / queue.total, progress(queue.done, queue.total, left));
}

/** Reads what waits, one photo after the other; more may come meanwhile. */
async function work() {
  if (queue.busy) return;
  queue.busy = true;
  state("reading");
  Object.assign(queue, { done: 0, total: queue.files.length, started: performance.now() });
  report();
  while (queue.files.length > 0) {
    const file = queue.files.shift();
    try {
      await take(file);
    } catch (error) {
      if (error.reason === null) fail(error);
      set.faults.push({ file: file.name || "a photo without a name", reason: error.reason ?? "it could not be read" });
    }
    queue.done += 1;
    report();
  }
  queue.busy = false;
  showProgress(null, "");
  await refresh();
  state("done");
}

/** Puts files in the queue. */
export function add(files) {
  const list = [...files];
  if (list.length === 0) return;
  queue.files.push(...list);
  queue.total += list.length;
  forget();
  work().catch(fail);
}

/** Leaves unread what has not begun. */
function stop() {
  queue.total -= queue.files.length;
  queue.files.length = 0;
}

function forget() {
  removed = null;
  show("undo", false);
}

async function remove(photo) {
  set.photos = set.photos.filter((other) => other !== photo);
  removed = photo;
  await memory.drop(photo.digest);
  say("removed", `${photo.name} is removed.`);
  show("undo", true);
  await refresh({ compare: true });
  $("restore").focus();
}

async function restore() {
  const photo = removed;
  forget();
  set.photos = [...set.photos, photo].sort((a, b) => a.order - b.order);
  await memory.keep(photo);
  await refresh({ compare: true });
}

async function deleteAll() {
  await memory.clear();
  Object.assign(set, { photos: [], faults: [], interests: [] });
  forget();
  await refresh();
  say("said", "Everything is deleted.");
  state("ready");
}

function fail(error) {
  say("fault", `Something went wrong: ${error.message}. Reload the page to try again.`);
  show("fault", true);
}

function listen() {
  for (const id of ["photos", "folder"]) {
    $(id).addEventListener("change", (event) => {
      add(event.target.files);
      event.target.value = ""; // so that the same photos can be chosen again
    });
  }
  const over = (is) => $("choose").classList.toggle("over", is);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", () => over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    add(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => add(event.clipboardData.files));
  $("stop").addEventListener("click", stop);
  $("restore").addEventListener("click", () => restore().catch(fail));
  $("save-json").addEventListener("click", () => saveJson(set.interests, set.faults));
  $("save-picture").addEventListener("click", () => {
    const note = config.simulated ? "Trained on simulated people, who do not exist." : `visagg · ${config.model}`;
    savePicture(set.interests, finding(set.interests, set.photos.length), note).catch(fail);
  });
  $("delete").addEventListener("click", () => $("sure").showModal());
  $("sure").addEventListener("close", () => {
    if ($("sure").returnValue === "yes") deleteAll().catch(fail);
    $("sure").returnValue = "no";
  });
}

async function start() {
  install((use) => {
    show("update", true);
    $("renew").addEventListener("click", use);
  }).catch(fail);
  config = await (await fetch(addressOf("../config.json"))).json();
  say("model", config.model);
  show("simulated", config.simulated);
  memory = await openMemory(config.files["backbone.onnx"]);
  listen();
  await engine.open(config);
  set.photos = await memory.all();
  next = set.photos.length ? set.photos.at(-1).order + 1 : 0;
  await refresh();
  state("ready");
  if (set.photos.length) say("said", `${finding(set.interests, set.photos.length)} They were kept from last time.`);
  add(await sharedFiles());
}

start().catch((error) => {
  fail(error);
  state("failed");
});
