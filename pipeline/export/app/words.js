// What the page says.

const LISTED = 6;

/** "hats, shoes and bags" */
export function list(words) {
  if (words.length < 2) return words.join("");
  const shown = words.length > LISTED ? [...words.slice(0, LISTED - 1), `${words.length - LISTED + 1} more`] : words;
  return `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}

export const photos = (count) => (count === 1 ? "1 photo" : `${count} photos`);

/** What was found, in a sentence or two. */
export function finding(interests, count) {
  const predicted = interests.filter((interest) => interest.predicted).map((interest) => interest.label);
  if (predicted.length > 0) return `Most likely: ${list(predicted)}. From ${photos(count)}.`;
  return `No interest is clear from ${photos(count)}. The nearest is ${interests[0].label}.`;
}

/** How far reading is; `seconds`: how long it still takes, or null where that is not known. */
export function progress(done, total, seconds) {
  const left = seconds === null ? "" : seconds < 2 ? ", almost done" : `, about ${time(seconds)} left`;
  return `${done} of ${photos(total)}${left}`;
}

function time(seconds) {
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

export const percent = (share) => `${Math.round(100 * share)} %`;
