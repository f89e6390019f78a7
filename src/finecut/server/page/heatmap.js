// Where in the frame the match is: the patch grid as a veil that opens over what matters.

const HOT = [255, 92, 38];
const VEIL = [8, 7, 6];

/**
 * Draw patch relevance over a picture.
 * @param canvas laid exactly over the picture
 * @param relevance rows of columns in [0, 1]
 * @param box left, top, right, bottom of the grid as fractions of the picture; may lie outside it
 */
export function drawHeat(canvas, relevance, box, width, height) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const [rows, columns] = [relevance.length, relevance[0].length];
  const [left, top, right, bottom] = box;
  // What the model never saw stays under the full veil.
  pen.fillStyle = `rgb(${VEIL} / 62%)`;
  pen.fillRect(0, 0, width, height);
  const [x, y] = [left * width, top * height];
  const [wide, tall] = [(right - left) * width, (bottom - top) * height];
  pen.clearRect(x, y, wide, tall);

  // One pixel per patch, enlarged smoothly; a border of copies keeps the edges from fading.
  const grid = new OffscreenCanvas(columns + 2, rows + 2);
  const image = new ImageData(columns + 2, rows + 2);
  const [low, high] = [Math.min(...relevance.flat()), Math.max(...relevance.flat())];
  const range = Math.max(0.05, high - low); // a frame that matches all over stays as it is
  for (let row = 0; row < rows + 2; row += 1) {
    for (let column = 0; column < columns + 2; column += 1) {
      const r = Math.min(rows - 1, Math.max(0, row - 1));
      const c = Math.min(columns - 1, Math.max(0, column - 1));
      image.data.set(shade((relevance[r][c] - low) / range, range), 4 * (row * (columns + 2) + column));
    }
  }
  grid.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.save();
  pen.beginPath();
  pen.rect(x, y, wide, tall);
  pen.clip();
  const [cellWide, cellTall] = [wide / columns, tall / rows];
  pen.drawImage(grid, x - cellWide, y - cellTall, wide + 2 * cellWide, tall + 2 * cellTall);
  pen.restore();
}

// Low relevance darkens, high relevance glows; in between the picture shows as it is.
function shade(share, range) {
  const strength = Math.min(1, range / 0.3);
  if (share < 0.6) return [...VEIL, Math.round(255 * 0.66 * strength * (1 - share / 0.6))];
  return [...HOT, Math.round(255 * 0.42 * strength * ((share - 0.6) / 0.4))];
}
