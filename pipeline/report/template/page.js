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

// A table shows its first columns until it is asked for all, and says what stands outside its box.
function cue(box) {
  const [right, below] = [box.scrollWidth > box.clientWidth + 1, box.scrollHeight > box.clientHeight + 1];
  const ways = [...(right ? ["sideways for more columns"] : []), ...(below ? ["down for more rows"] : [])];
  const said = box.closest(".table").querySelector(".cue");
  said.textContent = `Scroll ${ways.join(" and ")}.`;
  said.hidden = ways.length === 0;
  box.classList.toggle("beyond", right && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
}

function fewer(button, few) {
  const table = button.closest(".table").querySelector("table");
  table.classList.toggle("few", few);
  button.setAttribute("aria-expanded", String(!few));
  button.textContent = few ? `All ${table.rows[0].cells.length} columns` : "Fewer columns";
}

for (const button of document.querySelectorAll(".columns")) {
  button.hidden = false;
  fewer(button, true);
  button.addEventListener("click", () => fewer(button, button.getAttribute("aria-expanded") === "true"));
}

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) cue(target.closest(".scroll"));
});
for (const box of document.querySelectorAll(".table .scroll")) {
  cue(box);
  sizes.observe(box);
  sizes.observe(box.querySelector("table"));
  box.addEventListener("scroll", () => cue(box), { passive: true });
}

// A way around: on a phone all sections but the first two are folded, and a link into one opens it.
const folds = [...document.querySelectorAll(".fold")];
if (window.matchMedia("(max-width: 40rem)").matches) folds.slice(2).forEach((fold) => (fold.open = false));

function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const fold = target && target.querySelector(".fold");
  if (fold) fold.open = true;
  if (fold) target.scrollIntoView();
}
window.addEventListener("hashchange", unfold);
unfold();

const around = document.querySelector(".around details");
around.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  around.open = false;
  if (link.hash === location.hash) unfold();
});
window.addEventListener("beforeprint", () => folds.forEach((fold) => (fold.open = true)));

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
