// Masks as files: PNG, COCO JSON, GeoJSON.
//
// In   masks (H * W) of 0 and 1, their label and name
// Out  objects for JSON.stringify, blobs
// Not  no download: panel.mjs offers what is made here

// White where the mask is, black elsewhere.
export function maskPng(mask, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pixels = new ImageData(width, height);
  new Uint32Array(pixels.data.buffer).set(Uint32Array.from(mask, (value) => (value ? 0xffffffff : 0xff000000)));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// One annotation per mask [{label, name, mask}], as uncompressed run lengths that pycocotools reads.
export function cocoDocument(masks, fileName, width, height) {
  const categories = new Map(masks.map(({ label, name }) => [label, { id: label, name }]));
  const annotations = masks.map(({ label, mask }, i) => {
    const { area, box } = measureMask(mask, width);
    const segmentation = { size: [height, width], counts: runLengths(mask, width, height) };
    return { id: i + 1, image_id: 1, category_id: label, segmentation, area, bbox: box, iscrowd: 0 };
  });
  return { images: [{ id: 1, file_name: fileName, width, height }], annotations, categories: [...categories.values()] };
}

// One feature per mask; coordinates are [x, y] in pixels, y down, along the pixels' edges.
export function geoJsonDocument(masks, width, height) {
  const features = masks.map(({ label, name, mask }) => {
    const coordinates = polygonsOf(mask, width, height);
    const area = measureMask(mask, width).area;
    return { type: "Feature", properties: { label, name, area }, geometry: { type: "MultiPolygon", coordinates } };
  });
  return { type: "FeatureCollection", features };
}

function measureMask(mask, width) {
  let [area, x0, y0, x1, y1] = [0, Infinity, Infinity, 0, 0];
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    const x = i % width;
    const y = (i - x) / width;
    area++;
    [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x + 1), Math.max(y1, y + 1)];
  }
  return { area, box: area ? [x0, y0, x1 - x0, y1 - y0] : [0, 0, 0, 0] };
}

function runLengths(mask, width, height) {
  const counts = [];
  let [value, run] = [0, 0];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (mask[y * width + x] !== value) {
        counts.push(run);
        [value, run] = [1 - value, 0];
      }
      run++;
    }
  }
  counts.push(run);
  return counts;
}

// Polygons [[outer ring, hole, ...], ...] of a mask whose 4-connected parts are each one polygon.
export function polygonsOf(mask, width, height) {
  const rings = ringsOf(mask, width, height);
  const outers = rings.filter((ring) => signedArea(ring) > 0).map((ring) => [ring]);
  for (const hole of rings.filter((ring) => signedArea(ring) < 0)) {
    const around = outers.filter(([outer]) => isInside(holeSide(hole), outer));
    around.sort(([a], [b]) => signedArea(a) - signedArea(b));
    around[0].push(hole);
  }
  return outers;
}

// Closed rings along the mask's border, the mask on their right when y points down: outer rings have positive area.
function ringsOf(mask, width, height) {
  const at = (x, y) => (x >= 0 && y >= 0 && x < width && y < height ? mask[y * width + x] : 0);
  const stride = width + 1;
  const leaving = new Map(); // vertex -> directions of border edges that start there; 0 right, 1 down, 2 left, 3 up
  const add = (x, y, direction) => {
    const key = y * stride + x;
    leaving.set(key, (leaving.get(key) ?? 0) | (1 << direction));
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!at(x, y)) continue;
      if (!at(x, y - 1)) add(x, y, 0);
      if (!at(x + 1, y)) add(x + 1, y, 1);
      if (!at(x, y + 1)) add(x + 1, y + 1, 2);
      if (!at(x - 1, y)) add(x, y + 1, 3);
    }
  }
  const seen = new Set();
  const rings = [];
  for (const [key, open] of leaving) {
    for (let direction = 0; direction < 4; direction++) {
      if (open & (1 << direction) && !seen.has(key * 4 + direction)) {
        rings.push(followRing(leaving, seen, key, direction, stride));
      }
    }
  }
  return rings;
}

function followRing(leaving, seen, start, startDirection, stride) {
  const steps = [1, stride, -1, -stride];
  const ring = [];
  let [key, direction, before] = [start, startDirection, -1];
  do {
    if (direction !== before) ring.push([key % stride, Math.floor(key / stride)]);
    seen.add(key * 4 + direction);
    key += steps[direction];
    before = direction;
    // turning right first keeps pixels that touch at a corner in rings of their own
    const turns = [direction + 1, direction, direction + 3].map((turn) => turn % 4);
    direction = turns.find((turn) => leaving.get(key) & (1 << turn));
  } while (key !== start || direction !== startDirection);
  if (before === startDirection) ring.shift(); // it began in the middle of a straight side
  ring.push(ring[0]);
  return ring;
}

function signedArea(ring) {
  let sum = 0;
  for (let i = 0; i + 1 < ring.length; i++) sum += ring[i][0] * ring[i + 1][1] - ring[i + 1][0] * ring[i][1];
  return sum / 2;
}

// The middle of a pixel of the mask beside the hole's first edge.
function holeSide(hole) {
  const [[x0, y0], [x1, y1]] = hole;
  const [dx, dy] = [Math.sign(x1 - x0), Math.sign(y1 - y0)];
  return [x0 + dx / 2 - dy / 2, y0 + dy / 2 + dx / 2];
}

function isInside([x, y], ring) {
  let isIn = false;
  for (let i = 0; i + 1 < ring.length; i++) {
    const [[ax, ay], [bx, by]] = [ring[i], ring[i + 1]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) isIn = !isIn;
  }
  return isIn;
}
