// Where tiles stand: cameras as large as they fit; with a shared screen, the screen large and the cameras in a strip beside or below it.

const ASPECT = 16 / 9;
const GAP = 10;
// The share of the longer side that the strip of cameras takes.
const STRIP = 0.22;

// Rectangles {x, y, width, height} for so many screens and cameras in a box, in this order.
export function layout(box, screens, cameras) {
  if (!screens || !cameras) return grid(box, screens + cameras);
  const wide = box.width > box.height;
  const strip = Math.round((wide ? box.width : box.height) * STRIP);
  const stage = wide ? { ...box, width: box.width - strip - GAP } : { ...box, height: box.height - strip - GAP };
  const rest = wide ? { ...box, x: box.x + stage.width + GAP, width: strip } : { ...box, y: box.y + stage.height + GAP, height: strip };
  return [...grid(stage, screens), ...grid(rest, cameras)];
}

// As many columns as make the tiles largest, all of the shape of a picture, the last row centred.
function grid(box, count) {
  let best = { width: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const across = (box.width - (columns - 1) * GAP) / columns;
    const down = (box.height - (rows - 1) * GAP) / rows;
    const width = Math.min(across, down * ASPECT);
    if (width > best.width) best = { columns, rows, width, height: width / ASPECT };
  }
  const { columns, rows, width, height } = best;
  const top = box.y + (box.height - rows * (height + GAP) + GAP) / 2;
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = Math.min(columns, count - row * columns);
    const left = box.x + (box.width - inRow * (width + GAP) + GAP) / 2;
    return { x: left + (index % columns) * (width + GAP), y: top + row * (height + GAP), width, height };
  });
}

// The inside of an element for `layout`.
export function inside({ clientWidth, clientHeight }) {
  return { x: GAP, y: GAP, width: Math.max(clientWidth - 2 * GAP, 0), height: Math.max(clientHeight - 2 * GAP, 0) };
}
