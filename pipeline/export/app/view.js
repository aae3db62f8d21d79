// What is on the page: the chart, the photos, what could not be read.

import { percent } from "./words.js";

const LEAST_WEIGHT = 0.05; // below it a photo is not shown as speaking for an interest
const MOST_SPEAKERS = 12;
const LEAST_CHANGE = 0.005; // of a probability that is worth showing

const $ = (id) => document.getElementById(id);

/** An element with a class, text and children. */
function make(tag, { className = "", text = "", children = [], ...attributes } = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// One address for each small picture, given back when its photo goes.
const pictures = new Map();

function pictureOf(photo) {
  if (!pictures.has(photo.digest)) pictures.set(photo.digest, URL.createObjectURL(photo.thumbnail));
  return pictures.get(photo.digest);
}

function forgetOthers(photos) {
  const kept = new Set(photos.map((photo) => photo.digest));
  for (const [digest, address] of pictures) {
    if (kept.has(digest)) continue;
    URL.revokeObjectURL(address);
    pictures.delete(digest);
  }
}

/** Shows or hides, and fills, a text. */
export function say(id, text) {
  $(id).textContent = text;
}

/** Shows or hides a part of the page. */
export function show(id, visible) {
  $(id).hidden = !visible;
}

/** How far reading is, from 0 to 1, and in words. */
export function showProgress(share, text) {
  show("progress", share !== null);
  if (share !== null) $("bar").value = share;
  say("status", text);
}

function speaker({ photo, weight }) {
  return make("li", {
    children: [
      make("img", { src: pictureOf(photo), alt: photo.name, loading: "lazy" }),
      make("span", { className: "weight", text: percent(weight) }),
      make("span", { className: "file", text: photo.name }),
    ],
  });
}

function bar(interest) {
  const filled = make("i");
  filled.style.width = `${100 * interest.probability}%`;
  const line = make("b");
  line.style.left = `${100 * interest.threshold}%`;
  return make("span", { className: "track", "aria-hidden": "true", children: [filled, line] });
}

function row(interest, before, open) {
  const changed = before !== undefined && Math.abs(before - interest.probability) >= LEAST_CHANGE;
  const label = make("span", { className: "label" });
  if (interest.predicted) label.append(make("span", { className: "mark", text: "● ", "aria-hidden": "true" }));
  label.append(interest.label);
  const number = make("span", { className: "number" });
  if (changed) number.append(make("span", { className: "was", text: `${before.toFixed(2)} → ` }));
  number.append(interest.probability.toFixed(2));
  number.append(make("span", { className: "hidden", text: interest.predicted ? ", likely" : ", not likely" }));
  const speakers = interest.photos.filter(({ weight }) => weight >= LEAST_WEIGHT).slice(0, MOST_SPEAKERS);
  const photos = speakers.length
    ? make("ul", { className: "photos", children: speakers.map(speaker) })
    : make("p", { className: "small", text: "No photo by itself speaks for it." });
  const details = make("details", { className: interest.predicted ? "predicted" : "" });
  details.dataset.label = interest.label;
  details.open = open;
  details.append(make("summary", { children: [label, bar(interest), number] }), photos);
  return details;
}

/**
 * The chart.
 * @param {object[]} interests the most probable first
 * @param {Map<string, number>} before probabilities by label, from before a change
 */
export function showInterests(interests, before) {
  const opened = new Set([...$("chart").querySelectorAll("details[open]")].map((details) => details.dataset.label));
  $("chart").replaceChildren(
    ...interests.map((interest) => row(interest, before.get(interest.label), opened.has(interest.label))),
  );
}

/**
 * All photos, each with a button that removes it.
 * @param {object[]} photos
 * @param {(photo: object) => void} remove
 */
export function showPhotos(photos, remove) {
  $("grid").replaceChildren(
    ...photos.map((photo) => {
      const button = make("button", { type: "button", text: "Remove", "aria-label": `Remove ${photo.name}` });
      button.addEventListener("click", () => remove(photo));
      return make("li", {
        children: [
          make("img", { src: pictureOf(photo), alt: photo.name, loading: "lazy" }),
          make("span", { className: "file", text: photo.name }),
          button,
        ],
      });
    }),
  );
  forgetOthers(photos);
}

/** @param {{file: string, reason: string}[]} faults what could not be read */
export function showFaults(faults) {
  show("unreadable", faults.length > 0);
  $("faults").replaceChildren(
    ...faults.map(({ file, reason }) =>
      make("li", { children: [make("span", { className: "file", text: file }), reason] }),
    ),
  );
}
