"use strict";

// Tables: a click on a column's head sorts by it. Numbers begin with the greatest, text with A; a second click turns
// the order round. What is missing is last in both, and rows that are equal keep their order.
const collator = new Intl.Collator("en", { numeric: true });

function compare(left, right) {
  if (left.key !== undefined && right.key !== undefined) return left.key - right.key;
  return collator.compare(left.text, right.text);
}

function read(row, column) {
  const { textContent, dataset } = row.cells[column];
  const key = dataset.key === undefined ? undefined : Number(dataset.key);
  return { row, key, text: textContent, missing: "missing" in dataset };
}

function sort(head) {
  const body = head.closest("table").tBodies[0];
  const first = head.classList.contains("number") ? "descending" : "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? second : first;
  for (const sibling of head.parentElement.cells) sibling.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...body.rows].map((row) => read(row, head.cellIndex));
  rows.sort((left, right) => left.missing - right.missing || sign * compare(left, right));
  body.append(...rows.map(({ row }) => row));
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.parentElement));
}

// Wide tables: the columns that matter first, the others on demand; and a word where there is more at the side.
for (const table of document.querySelectorAll("table:has(.more)")) {
  const button = table.closest("section").querySelector(".all");
  const words = button.textContent;
  const show = (all) => {
    table.classList.toggle("few", !all);
    button.setAttribute("aria-expanded", String(all));
    button.textContent = all ? "Fewer columns" : words;
  };
  button.parentElement.hidden = false;
  button.addEventListener("click", () => show(table.classList.contains("few")));
  show(false);
}

const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const box = target.closest(".scroll");
    box.previousElementSibling.hidden = box.scrollWidth <= box.clientWidth + 1;
  }
});
for (const box of document.querySelectorAll(".table .scroll")) {
  watch.observe(box);
  watch.observe(box.firstElementChild);
}

// A small screen: sections are folded but for the first; a link to one opens it.
const folded = [...document.querySelectorAll("section details")];

function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  const details = target && target.querySelector("details");
  if (details && !details.open) {
    details.open = true;
    target.scrollIntoView();
  }
}

if (matchMedia("(max-width: 40rem)").matches) {
  for (const details of folded.slice(1)) details.open = false;
  reveal();
}
addEventListener("hashchange", reveal);
for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => setTimeout(reveal));

// The gallery: two heads side by side, chosen from all.
function make(tag, name, ...content) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...content);
  return element;
}

function letterOf(side) {
  return make("span", `letter ${side}`, side.toUpperCase());
}

function weight(side, value) {
  if (value === null) return make("div", side, letterOf(side), make("span", "unused", "unused"));
  const bar = make("span", "bar");
  bar.style.width = `${100 * value}%`;
  return make("div", side, letterOf(side), make("div", "track", bar), make("span", "number", value.toFixed(2)));
}

function interest(mark, label, score) {
  const name = make("span", "label", label);
  const item = make("li", mark, make("span", "hidden", `${mark}: `), name);
  if (score !== undefined) item.append(make("span", "score", score.toFixed(2)));
  return item;
}

function answerList(side, name, user, answer, labels) {
  const scores = new Map(answer.best.map((label, index) => [label, answer.best_scores[index]]));
  const listed = (marked, ids) => ids.map((label) => interest(marked(label), labels[label], scores.get(label)));
  const predicted = answer.best.filter((label) => answer.predicted.includes(label));
  const rest = answer.predicted.filter((label) => !predicted.includes(label));
  const missed = user.true.filter((label) => !answer.predicted.includes(label));
  const judge = (label) => (user.true.includes(label) ? "right" : "wrong");
  const list = make("ul", "", ...listed(judge, [...predicted, ...rest]), ...listed(() => "missed", missed));
  const f1 = make("span", "f1", `F1 ${answer.f1.toFixed(2)}`);
  return make("div", side, make("h4", "", letterOf(side), ` ${name} `, f1), list);
}

function showGallery() {
  const { labels, shown, users } = JSON.parse(document.getElementById("answers").textContent);
  const form = document.querySelector(".choice");
  const selects = [...form.querySelectorAll("select")];
  const cards = [...document.querySelectorAll(".user")];
  const sides = ["a", "b"];

  function update() {
    cards.forEach((card, index) => {
      const user = users[index];
      const answers = selects.map((select) => user.answers[select.value]);
      const names = selects.map((select) => select.selectedOptions[0].textContent);
      card.querySelectorAll(".weights").forEach((box, image) => {
        box.replaceChildren(...sides.map((side, i) => weight(side, answers[i].weights[image])));
      });
      const lists = sides.map((side, i) => answerList(side, names[i], user, answers[i], labels));
      card.querySelector(".answers").replaceChildren(...lists);
    });
  }

  selects.forEach((select, i) => {
    select.value = shown[Math.min(i, shown.length - 1)];
    select.addEventListener("change", update);
  });
  form.hidden = false;
  document.getElementById("unanswered").hidden = true;
  update();
}

if (document.getElementById("answers")) showGallery();
