// Draw a cut of the tree over its image at the resolution of the screen.
//
// In   a tree, two canvases one over the other, the image; what to show as colours per leaf and flags
// Out  pixels; the leaf under a point of the canvas
// Not  no decisions: app.mjs decides what is shown
//
// Everything costs per pixel of the canvas, not of the image: layOut samples the label map once for a view, and lists
// the pixels near boundaries with their distances; a frame then takes colours from a table per leaf, and covers the
// listed pixels by as much of a line as lies in them.

const NONE = -1;
const SMOOTHED = 3; // steps along a boundary, to either side, over which its position is averaged
const SHADE = 1.5; // pixels by which the dark line below a line is wider
const SHADE_ALPHA = 0.5;

export const rgba = (red, green, blue, alpha) =>
  ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// The colour of a word, of an opacity of its own, over that of another.
function over(word, alpha, ground) {
  const below = ((ground >>> 24) / 255) * (1 - alpha);
  if (below === 0) return ((Math.round(255 * alpha) << 24) | (word & 0xffffff)) >>> 0;
  const share = alpha / (alpha + below);
  const red = (ground & 255) + share * ((word & 255) - (ground & 255));
  const green = ((ground >>> 8) & 255) + share * (((word >>> 8) & 255) - ((ground >>> 8) & 255));
  const blue = ((ground >>> 16) & 255) + share * (((word >>> 16) & 255) - ((ground >>> 16) & 255));
  return rgba(Math.round(red), Math.round(green), Math.round(blue), alpha + below);
}

const grown = (entries) =>
  Object.fromEntries(Object.entries(entries).map(([name, old]) => {
    const array = new old.constructor(2 * old.length);
    array.set(old);
    return [name, array];
  }));

export function hexToRgb(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

// How strong a boundary is, 0..1, by the altitude of its node: square roots keep the lower merges visible.
export function strengthOf(tree) {
  const highest = Math.sqrt(tree.altitudes[tree.nNodes - 1]) || 1;
  return Float32Array.from(tree.altitudes, (altitude) => Math.sqrt(altitude) / highest);
}

// The leaf that lends each node its random colour: that of its largest child, so a colour survives a split.
export function colorLeaves(tree) {
  const leafOf = Int32Array.from({ length: tree.nNodes }, (_, node) => (node < tree.nLeaves ? node : NONE));
  const largest = new Int32Array(tree.nNodes).fill(NONE);
  for (let node = 0; node < tree.nNodes - 1; node++) {
    const parent = tree.parents[node];
    if (largest[parent] === NONE || tree.areas[node] > tree.areas[largest[parent]]) {
      largest[parent] = node;
      leafOf[parent] = leafOf[node];
    }
  }
  return leafOf;
}

// Mean colour (3 M) of every node, from those of the leaves (3 N).
export function nodeColors(tree, leafColors) {
  const sums = new Float64Array(3 * tree.nNodes);
  for (let leaf = 0; leaf < tree.nLeaves; leaf++) {
    for (let c = 0; c < 3; c++) sums[3 * leaf + c] = leafColors[3 * leaf + c] * tree.leafAreas[leaf];
  }
  for (let node = 0; node < tree.nNodes - 1; node++) {
    for (let c = 0; c < 3; c++) sums[3 * tree.parents[node] + c] += sums[3 * node + c];
  }
  return Uint8Array.from(sums, (sum, i) => Math.round(sum / tree.areas[Math.floor(i / 3)]));
}

export class Painter {
  constructor(tree, image, imageCanvas, canvas) {
    [this.tree, this.image, this.imageCanvas, this.canvas] = [tree, image, imageCanvas, canvas];
    this.context = canvas.getContext("2d", { willReadFrequently: true }); // stays in memory: putImageData is the work
    this.imageContext = imageCanvas.getContext("2d");
    this.view = { scale: 1, x: 0, y: 0 }; // canvas = image * scale + (x, y)
    this.known = { pair: new Float64Array(1 << 14).fill(NONE), index: new Int32Array(1 << 14) };
    const n = 1 << 16; // grows
    this.entries = { pair: new Int32Array(n), distance: new Float32Array(n), next: new Int32Array(n) };
    this.pairs = { indexOf: new Map(), low: [], high: [], node: [] }; // two leaves, and the node that joins them
  }

  // Give the canvases a size in pixels.
  resize(width, height) {
    for (const canvas of [this.canvas, this.imageCanvas]) [canvas.width, canvas.height] = [width, height];
    this.pixels = new ImageData(width, height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.leafAt = new (this.tree.nLeaves < 65534 ? Uint16Array : Uint32Array)(width * height);
    this.across = new Int32Array(width * height); // pair + 1 of each pixel and the one on its right, 0 for one leaf
    this.down = new Int32Array(width * height); // ... and the one below
    this.nearPixels = new Int32Array(width * height); // the first nNear: pixels near a boundary
    this.firstEntry = new Int32Array(width * height); // of the list of boundaries near each pixel
  }

  toImage(x, y) {
    return [Math.floor((y - this.view.y) / this.view.scale), Math.floor((x - this.view.x) / this.view.scale)];
  }

  // The leaf at a pixel (y, x) of the image; -1 outside, and where a mask left the pixel out.
  leafOfPixel(y, x) {
    const { width, height, labels } = this.tree;
    return x >= 0 && y >= 0 && x < width && y < height ? labels[y * width + x] : NONE;
  }

  // Draw the image, and sample the label map, for a view; lines reach no further than `reach` pixels from a boundary.
  // While a view is moving, boundaries are not smoothed.
  layOut(view, reach, isMoving = false) {
    this.view = view;
    const { context, leafAt } = { context: this.imageContext, leafAt: this.leafAt };
    const { width, height } = this.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
    context.imageSmoothingEnabled = view.scale < 2; // beyond, pixels are seen as squares
    if (this.image) context.drawImage(this.image, 0, 0, this.tree.width, this.tree.height);
    const columns = Int32Array.from({ length: width }, (_, x) => this.toImage(x + 0.5, 0)[1]);
    const [first, last] = [columns.findIndex((x) => x >= 0), columns.findLastIndex((x) => x < this.tree.width)];
    const { nLeaves, labels } = this.tree;
    leafAt.fill(nLeaves); // outside the image
    for (let y = 0; y < height; y++) {
      const row = this.toImage(0, y + 0.5)[0];
      if (row < 0 || row >= this.tree.height || first < 0) continue;
      for (let x = first; x <= last; x++) {
        const leaf = labels[row * this.tree.width + columns[x]];
        leafAt[y * width + x] = leaf < 0 ? nLeaves + 1 : leaf; // left out by a mask
      }
    }
    if (view.scale > 1) this.smoothSteps();
    this.findBoundaries(reach, isMoving ? 0 : SMOOTHED);
  }

  // Cut the corners of enlarged pixels, so that boundaries are lines instead of steps: a point takes the leaf with the
  // largest bilinear weight among the four pixels around it. The middle of a pixel keeps its leaf.
  smoothSteps() {
    const { leafAt, view } = this;
    const { width, height } = this.canvas;
    const { width: columns, height: rows, labels, nLeaves } = this.tree;
    const at = (position, origin) => (position + 0.5 - origin) / view.scale - 0.5;
    const leftOf = Int32Array.from({ length: width }, (_, x) => Math.floor(at(x, view.x)));
    const shareOf = Float32Array.from(leftOf, (left, x) => at(x, view.x) - left);
    for (let y = 0; y < height; y++) {
      const row = Math.floor(at(y, view.y));
      const down = at(y, view.y) - row;
      if (row < 0 || row + 1 >= rows) continue;
      for (let x = 0; x < width; x++) {
        const left = leftOf[x];
        if (left < 0 || left + 1 >= columns) continue;
        const i = row * columns + left;
        const [a, b, c, d] = [labels[i], labels[i + 1], labels[i + columns], labels[i + columns + 1]];
        if (a === b && c === d && a === c) continue;
        const right = shareOf[x];
        const [wa, wb, wc, wd] = [(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down];
        const sums = [
          wa + (b === a ? wb : 0) + (c === a ? wc : 0) + (d === a ? wd : 0),
          wb + (a === b ? wa : 0) + (c === b ? wc : 0) + (d === b ? wd : 0),
          wc + (a === c ? wa : 0) + (b === c ? wb : 0) + (d === c ? wd : 0),
          wd + (a === d ? wa : 0) + (b === d ? wb : 0) + (c === d ? wc : 0),
        ];
        const most = Math.max(...sums);
        const leaf = most === sums[0] ? a : most === sums[1] ? b : most === sums[2] ? c : d;
        leafAt[y * width + x] = leaf < 0 ? nLeaves + 1 : leaf;
      }
    }
  }

  // List the pixels within reach of a boundary, with their distance from it: linked lists of entries {pair, distance}.
  findBoundaries(reach, nSmoothed) {
    const { leafAt, across, down } = this;
    const { width, height } = this.canvas;
    this.firstEntry.fill(NONE);
    [this.nNear, this.nEntries] = [0, 0];
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const here = leafAt[i];
        across[i] = x + 1 < width && leafAt[i + 1] !== here ? this.pairOf(here, leafAt[i + 1]) + 1 : 0;
        down[i] = y + 1 < height && leafAt[i + width] !== here ? this.pairOf(here, leafAt[i + width]) + 1 : 0;
      }
    }
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        if (across[i]) this.markNear(across, i, x, width, 1, width, reach, nSmoothed);
        if (down[i]) this.markNear(down, i, y, height, width, 1, reach, nSmoothed);
      }
    }
  }

  // Add entries for the pixels beside the boundary after pixel i, in its row (or column) of `length` pixels, `stride`
  // apart, at `position`. The boundary is followed over the rows beside, `along` apart: its place is averaged over as
  // many of them on either side, and its slope turns distances in the row into distances from the line.
  markNear(crossings, i, position, length, stride, along, reach, nSmoothed) {
    const pair = crossings[i] - 1;
    const node = this.pairs.node[pair];
    let [before, after, shiftBefore, shiftAfter] = [i, i, 0, 0];
    let [sum, weights, slope] = [0, nSmoothed + 1, 0];
    for (let k = 1; k <= nSmoothed; k++) {
      const stepBefore = this.follow(crossings, before - along, stride, node);
      const stepAfter = this.follow(crossings, after + along, stride, node);
      if (stepBefore === 2 || stepAfter === 2) break;
      before += stepBefore * stride - along;
      after += stepAfter * stride + along;
      shiftBefore += stepBefore;
      shiftAfter += stepAfter;
      sum += (nSmoothed + 1 - k) * (shiftBefore + shiftAfter);
      weights += 2 * (nSmoothed + 1 - k);
      slope = (shiftAfter - shiftBefore) / (2 * k);
    }
    const cosine = 1 / Math.hypot(1, slope);
    const place = position + 0.5 + sum / weights; // in units where pixels have their middle at whole numbers
    const first = Math.max(0, Math.ceil(place - reach / cosine));
    const last = Math.min(length - 1, Math.floor(place + reach / cosine));
    for (let at = first; at <= last; at++) {
      this.addEntry(i + (at - position) * stride, pair, Math.abs(at - place) * cosine);
    }
  }

  // The column of a boundary in the next row: 0, -1 or 1 pixels aside; 2 if it ends.
  follow(crossings, i, stride, node) {
    const { node: nodes } = this.pairs;
    if (crossings[i] && nodes[crossings[i] - 1] === node) return 0;
    if (crossings[i - stride] && nodes[crossings[i - stride] - 1] === node) return -1;
    return crossings[i + stride] && nodes[crossings[i + stride] - 1] === node ? 1 : 2;
  }

  addEntry(pixel, pair, distance) {
    const { firstEntry, entries, nearPixels } = this;
    const first = firstEntry[pixel];
    for (let entry = first; entry !== NONE; entry = entries.next[entry]) {
      if (entries.pair[entry] !== pair) continue;
      if (distance < entries.distance[entry]) entries.distance[entry] = distance;
      return;
    }
    if (first === NONE) nearPixels[this.nNear++] = pixel;
    if (this.nEntries === entries.pair.length) this.entries = grown(entries);
    const entry = this.nEntries++;
    this.entries.pair[entry] = pair;
    this.entries.distance[entry] = distance;
    this.entries.next[entry] = first;
    firstEntry[pixel] = entry;
  }

  // The index of two neighbouring leaves in `pairs`.
  pairOf(a, b) {
    const { pairs, known } = this;
    const [low, high] = a < b ? [a, b] : [b, a];
    const key = low * (this.tree.nLeaves + 2) + high;
    const slot = (low * 40503 + high) & (known.pair.length - 1);
    if (known.pair[slot] === key) return known.index[slot];
    let index = pairs.indexOf.get(key);
    if (index === undefined) {
      index = pairs.low.push(low) - 1;
      pairs.high.push(high);
      pairs.node.push(this.joining(low, high));
      pairs.indexOf.set(key, index);
    }
    known.pair[slot] = key;
    known.index[slot] = index;
    return index;
  }

  // The lowest node that holds both leaves; -1 where one of them is none.
  joining(a, b) {
    if (a >= this.tree.nLeaves || b >= this.tree.nLeaves) return NONE;
    while (a !== b) {
      if (a < b) a = this.tree.parents[a];
      else b = this.tree.parents[b];
    }
    return a;
  }

  // Draw one frame. fill (N + 2): colour per leaf, then outside and where a mask left pixels out; lines: colour per
  // node, or null, of a width in pixels; isUndone (M) of the cut; outlined [{flags (N + 2), color, width}], the last on
  // top; strokes [{points, color}]; cursor [y, x] or null.
  draw({ fill, lines, lineWidth, isUndone, outlined, strokes, cursor }) {
    const { words, leafAt } = this;
    for (let i = 0; i < words.length; i++) words[i] = fill[leafAt[i]];
    this.drawLines(this.linesOfPairs(lines, lineWidth, isUndone, outlined));
    this.context.putImageData(this.pixels, 0, 0);
    for (const stroke of strokes) this.drawStroke(stroke);
    if (cursor) this.drawCursor(cursor);
  }

  // Return the colour of the line of each pair, 0 for none, its half width and half that of the dark line below it,
  // and which lines are on top.
  linesOfPairs(lines, lineWidth, isUndone, outlined) {
    const { low, high, node } = this.pairs;
    const n = node.length;
    const [colors, order] = [new Uint32Array(n), new Uint8Array(n)];
    const [half, shade] = [new Float32Array(n), new Float32Array(n)];
    const set = (pair, color, width, rank) => {
      [colors[pair], half[pair], order[pair]] = [color, (width + 1) / 2, rank];
      shade[pair] = color >>> 24 > 127 ? half[pair] + SHADE / 2 : 0; // a faint line has no dark one below it
    };
    for (let pair = 0; pair < n; pair++) {
      if (lines && node[pair] !== NONE && isUndone[node[pair]]) set(pair, lines[node[pair]], lineWidth, 1);
      for (let k = 0; k < outlined.length; k++) {
        const { flags, color, width } = outlined[k];
        if (flags[low[pair]] !== flags[high[pair]]) set(pair, color, width, k + 2);
      }
    }
    return { colors, half, shade, order };
  }

  drawLines({ colors, half, shade, order }) {
    const { nearPixels, firstEntry, words } = this;
    const { pair: pairs, distance: distances, next } = this.entries;
    for (let k = 0; k < this.nNear; k++) {
      const i = nearPixels[k];
      let [top, distance, dark] = [NONE, 0, 0];
      for (let entry = firstEntry[i]; entry !== NONE; entry = next[entry]) {
        const pair = pairs[entry];
        if (!colors[pair]) continue;
        const far = distances[entry];
        if (shade[pair] - far > dark) dark = Math.min(shade[pair] - far, 1);
        if (far >= half[pair]) continue;
        const isAbove = top === NONE || order[pair] > order[top] || (order[pair] === order[top] && far < distance);
        if (isAbove) [top, distance] = [pair, far];
      }
      if (dark > 0) words[i] = over(0, SHADE_ALPHA * dark, words[i]);
      if (top === NONE) continue;
      const alpha = (Math.min(half[top] - distance, 1) * (colors[top] >>> 24)) / 255;
      words[i] = over(colors[top], alpha, words[i]);
    }
  }

  drawStroke({ points, color }) {
    const { context, view } = this;
    const path = new Path2D();
    const place = ([y, x]) => [(x + 0.5) * view.scale + view.x, (y + 0.5) * view.scale + view.y];
    points.forEach((point) => path.lineTo(...place(point)));
    path.lineTo(...place(points.at(-1))); // a single point is a dot
    Object.assign(context, { lineCap: "round", lineJoin: "round" });
    for (const [style, lineWidth] of [["#fff", 7], ["#000", 5.5], [color, 4]]) {
      Object.assign(context, { strokeStyle: style, lineWidth });
      context.stroke(path);
    }
  }

  drawCursor([row, column]) {
    const { context, view } = this;
    const [x, y] = [(column + 0.5) * view.scale + view.x, (row + 0.5) * view.scale + view.y];
    const path = new Path2D();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      path.moveTo(x + 3 * dx, y + 3 * dy);
      path.lineTo(x + 12 * dx, y + 12 * dy);
    }
    for (const [strokeStyle, lineWidth] of [["#000", 4], ["#fff", 2]]) {
      Object.assign(context, { strokeStyle, lineWidth });
      context.stroke(path);
    }
  }
}
