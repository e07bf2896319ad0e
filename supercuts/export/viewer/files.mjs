// Cuts, labels and masks as files: PNG, COCO JSON, GeoJSON.
//
// In   label maps and masks (H * W), labels and their names
// Out  objects for JSON.stringify, blobs
// Not  no download: panel.mjs offers what is made here

const LABEL_TEXT = "supercuts:labels"; // keyword of the names in a PNG's text

// 255 where the mask is, 0 elsewhere: 8 bits of grey.
export const maskPng = (mask, width, height) =>
  encodePng(width, height, Uint8Array.from(mask, (value) => (value ? 255 : 0)));

// Numbers of regions (H * W) from 1, 0 where a mask left pixels out: 16 bits of grey, or 8 if they suffice.
export function regionsPng(labels, nRegions, width, height) {
  return encodePng(width, height, (nRegions < 256 ? Uint8Array : Uint16Array).from(labels, (label) => label + 1));
}

// Labels (H * W), 0 for none, with a palette of [[r, g, b] of label 0, of label 1, ...] and the names as text.
export function labelsPng(labels, names, palette, width, height) {
  const named = JSON.stringify(Object.fromEntries(names.map((name, i) => [i + 1, name])));
  const escaped = named.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return encodePng(width, height, Uint8Array.from(labels), { palette: palette.flat(), text: [LABEL_TEXT, escaped] });
}

// A PNG (a blob) of one channel: values (H * W) of 8 or 16 bits; with a palette, they are its indices.
async function encodePng(width, height, values, { palette = null, text = null } = {}) {
  const size = values.BYTES_PER_ELEMENT;
  const rows = new Uint8Array(height * (1 + width * size)); // each row starts with the filter 0
  for (let y = 0, at = 0; y < height; y++) {
    at++;
    for (let x = 0; x < width; x++) {
      const value = values[y * width + x];
      if (size === 2) rows[at++] = value >> 8;
      rows[at++] = value & 255;
    }
  }
  const compressed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8 * size);
  header.setUint8(9, palette ? 3 : 0);
  const bytesOf = (string) => Uint8Array.from(string, (c) => c.charCodeAt(0));
  const chunks = [["IHDR", new Uint8Array(header.buffer)]];
  if (text) chunks.push(["tEXt", bytesOf(text.join("\0"))]);
  if (palette) chunks.push(["PLTE", Uint8Array.from(palette)]);
  chunks.push(["IDAT", new Uint8Array(await new Response(compressed).arrayBuffer())], ["IEND", new Uint8Array()]);
  const parts = chunks.map(([name, data]) => {
    const chunk = new Uint8Array(12 + data.length);
    const view = new DataView(chunk.buffer);
    view.setUint32(0, data.length);
    chunk.set(bytesOf(name), 4);
    chunk.set(data, 8);
    view.setUint32(8 + data.length, checksum(chunk.subarray(4, 8 + data.length)));
    return chunk;
  });
  return new Blob([Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), ...parts], { type: "image/png" });
}

// The CRC-32 that PNG asks for (ISO 3309).
function checksum(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

// One annotation per mask [{label, name, mask}]: uncompressed run lengths that pycocotools reads, or polygons where a
// mask has no holes, which COCO's polygons cannot have.
export function cocoDocument(masks, fileName, width, height, asPolygons = false) {
  const categories = new Map(masks.map(({ label, name }) => [label, { id: label, name }]));
  const annotations = masks.map(({ label, mask }, i) => {
    const { area, box } = measureMask(mask, width);
    const polygons = asPolygons ? polygonsOf(mask, width, height) : [];
    const isExact = polygons.length > 0 && polygons.every((rings) => rings.length === 1);
    const segmentation = isExact
      ? polygons.map(([ring]) => ring.slice(0, -1).flat())
      : { size: [height, width], counts: runLengths(mask, width, height) };
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
