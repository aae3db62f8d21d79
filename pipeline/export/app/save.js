// The result as a file: JSON of the form that visagg predict has, or a picture of the chart.

const WIDTH = 1080;
const MARGIN = 64;
const LINE = 84;
const HEADLINE = 44;
const MOST_ROWS = 12;

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const rounded = (number) => Number(number.toFixed(6));

/** The result as plain values. */
export function asValues(interests, faults) {
  return {
    interests: interests.map(({ label, probability, predicted, photos }) => ({
      label,
      probability: rounded(probability),
      predicted,
      photos: photos.map(({ photo, weight }) => ({ file: photo.name, weight: rounded(weight) })),
    })),
    unreadable: faults,
  };
}

export function saveJson(interests, faults) {
  const text = `${JSON.stringify(asValues(interests, faults), null, 2)}\n`;
  download(new Blob([text], { type: "application/json" }), "interests.json");
}

/** A sentence in lines that are at most so wide, in the font that is set. */
function linesOf(draw, sentence, width) {
  const lines = [""];
  for (const word of sentence.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (draw.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** Draws the chart in the colours of the page. */
export async function savePicture(interests, sentence, note) {
  const rows = interests.slice(0, Math.max(MOST_ROWS, interests.filter((interest) => interest.predicted).length));
  const canvas = document.createElement("canvas");
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const draw = canvas.getContext("2d");
  draw.font = `600 ${HEADLINE}px ${colour("--serif")}`;
  const lines = linesOf(draw, sentence, WIDTH - 2 * MARGIN);
  const top = MARGIN + lines.length * 1.3 * HEADLINE + 70;
  canvas.width = WIDTH;
  canvas.height = top + rows.length * LINE + MARGIN + 20;
  const write = (text, x, y, { size = 34, bold = false, soft = false, align = "left" } = {}) => {
    draw.font = `${bold ? 600 : 400} ${size}px ${colour("--serif")}`;
    draw.fillStyle = colour(soft ? "--soft" : "--ink");
    draw.textAlign = align;
    draw.fillText(text, x, y, WIDTH - MARGIN - (align === "left" ? x : 0));
  };
  draw.fillStyle = colour("--paper");
  draw.fillRect(0, 0, canvas.width, canvas.height);
  lines.forEach((line, index) => write(line, MARGIN, MARGIN + (index + 0.8) * 1.3 * HEADLINE, { size: HEADLINE, bold: true }));
  rows.forEach((interest, index) => {
    const y = top + index * LINE;
    const width = WIDTH - 2 * MARGIN;
    write(`${interest.predicted ? "● " : ""}${interest.label}`, MARGIN, y, { bold: interest.predicted });
    write(interest.probability.toFixed(2), WIDTH - MARGIN, y, { align: "right" });
    draw.fillStyle = colour("--wash");
    draw.fillRect(MARGIN, y + 14, width, 16);
    draw.fillStyle = colour(interest.predicted ? "--best" : "--soft");
    draw.fillRect(MARGIN, y + 14, width * interest.probability, 16);
    draw.fillStyle = colour("--ink");
    draw.fillRect(MARGIN + width * interest.threshold - 1, y + 10, 3, 24);
  });
  write(note, MARGIN, canvas.height - MARGIN / 2, { size: 26, soft: true });
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  download(blob, "interests.png");
}
