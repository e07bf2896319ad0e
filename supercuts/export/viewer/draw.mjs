// Draw a cut of the tree over its image at the resolution of the screen.
//
// In   a tree, two canvases one over the other, the image; what to show as colours per leaf and flags
// Out  pixels; the leaf under a point of the canvas
// Not  no decisions: app.mjs decides what is shown
//
// Everything costs per pixel of the canvas, not of the image: layOut samples the label map once for a view, and lists
// where boundaries cross its rows and columns; a frame then takes colours from a table per leaf, and covers the pixels
// beside the crossings of lines that are drawn by as much of the line as lies in them.

const NONE = -1;
const SMOOTHED = 3; // steps along a boundary, to either side, over which its position is averaged
const SHADE = 1.5; // pixels by which the dark line below a line is wider
const SHADE_ALPHA = 0.5;

export const rgba = (red, green, blue, alpha) =>
  ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// The colour of a word, of an opacity of its own, over black of an opacity over that of a third word.
function over(word, alpha, dark, ground) {
  const above = (1 - alpha) * (1 - dark) * ((ground >>> 24) / 255);
  const total = alpha + (1 - alpha) * dark + above;
  const mine = alpha / total, its = above / total;
  const red = mine * (word & 255) + its * (ground & 255);
  const green = mine * ((word >>> 8) & 255) + its * ((ground >>> 8) & 255);
  const blue = mine * ((word >>> 16) & 255) + its * ((ground >>> 16) & 255);
  return (((255 * total + 0.5) << 24) | ((blue + 0.5) << 16) | ((green + 0.5) << 8) | (red + 0.5)) >>> 0;
}

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

// Room for n places where boundaries cross rows or columns, holding `old` ones: the pixel before the boundary, the
// stride to the one after it, how far the boundary is from the first, and the cosine of its slope.
function crossingsOf(n, old = {}) {
  const kinds = { pair: Int32Array, pixel: Int32Array, stride: Int32Array, offset: Float32Array, cosine: Float32Array };
  return Object.fromEntries(Object.entries(kinds).map(([name, Kind]) => {
    const array = new Kind(n);
    array.set(old[name] ?? []);
    return [name, array];
  }));
}

export class Painter {
  constructor(tree, image, imageCanvas, canvas) {
    [this.tree, this.image, this.imageCanvas, this.canvas] = [tree, image, imageCanvas, canvas];
    this.context = canvas.getContext("2d", { willReadFrequently: true }); // stays in memory: putImageData is the work
    this.imageContext = imageCanvas.getContext("2d");
    this.view = { scale: 1, x: 0, y: 0 }; // canvas = image * scale + (x, y)
    this.known = { pair: new Float64Array(1 << 14).fill(NONE), index: new Int32Array(1 << 14) };
    this.crossings = crossingsOf(1 << 16); // grows; the first nCrossings are used
    this.pairs = { indexOf: new Map(), low: [], high: [], node: [] }; // two leaves, and the node that joins them
  }

  // Give the canvases a size in pixels.
  resize(width, height) {
    for (const canvas of [this.canvas, this.imageCanvas]) [canvas.width, canvas.height] = [width, height];
    this.pixels = new ImageData(width, height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.view = { scale: 0, x: 0, y: 0 }; // nothing is laid out
    this.leafAt = new (this.tree.nLeaves < 65534 ? Uint16Array : Uint32Array)(width * height);
    this.across = new Int32Array(width * height); // pair + 1 of each pixel and the one on its right, 0 for one leaf
    this.down = new Int32Array(width * height); // ... and the one below
    this.topAt = new Int32Array(width * height).fill(NONE); // of a frame: the pair whose line is on top,
    this.distanceAt = new Float32Array(width * height); // how far its middle is,
    this.darkAt = new Float32Array(width * height); // how dark the line below is,
    this.nearPixels = new Int32Array(width * height); // and a list of the pixels that have one
  }

  toImage(x, y) {
    return [Math.floor((y - this.view.y) / this.view.scale), Math.floor((x - this.view.x) / this.view.scale)];
  }

  // The leaf at a pixel (y, x) of the image; -1 outside, and where a mask left the pixel out.
  leafOfPixel(y, x) {
    const { width, height, labels } = this.tree;
    return x >= 0 && y >= 0 && x < width && y < height ? labels[y * width + x] : NONE;
  }

  // Draw the image, and sample the label map, for a view. While a view is moving, what stays on the canvas is shifted,
  // and boundaries that are new are not smoothed.
  layOut(view, isMoving = false) {
    const { scale, x, y } = this.view;
    const [dx, dy] = [Math.round(view.x - x), Math.round(view.y - y)];
    this.view = view;
    this.filled = null; // all pixels are filled in the next frame
    const { imageContext: context } = this;
    const { width, height } = this.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
    context.imageSmoothingEnabled = view.scale < 2; // beyond, pixels are seen as squares
    if (this.image) context.drawImage(this.image, 0, 0, this.tree.width, this.tree.height);
    const isWhole = Math.hypot(view.x - x - dx, view.y - y - dy) < 1e-3;
    if (isMoving && view.scale === scale && isWhole && Math.abs(dx) < width && Math.abs(dy) < height) {
      this.shift(dx, dy);
      return;
    }
    this.nCrossings = 0;
    this.sample(0, 0, width, height);
    this.findBoundaries(0, 0, width, height);
    if (!isMoving) this.smoothBoundaries();
  }

  // Shift what is laid out by whole pixels, and sample what comes into view.
  shift(dx, dy) {
    const { width, height } = this.canvas;
    const by = dy * width + dx;
    this.leafAt.copyWithin(Math.max(by, 0), Math.max(-by, 0));
    // the pixels that stay, but for the last, which gain or lose a neighbour
    const [left, right] = [Math.max(dx, 0), dx ? width - 1 + Math.min(dx, 0) : width];
    const [top, bottom] = [Math.max(dy, 0), dy ? height - 1 + Math.min(dy, 0) : height];
    const { pair, pixel, stride, offset, cosine } = this.crossings;
    let n = 0;
    for (let k = 0; k < this.nCrossings; k++) {
      const x = (pixel[k] % width) + dx, y = Math.floor(pixel[k] / width) + dy;
      if (x < left || x >= right || y < top || y >= bottom) continue;
      pair[n] = pair[k];
      pixel[n] = pixel[k] + by;
      stride[n] = stride[k];
      offset[n] = offset[k];
      cosine[n] = cosine[k];
      n++;
    }
    this.nCrossings = n;
    const parts = [[0, 0, width, top], [0, bottom, width, height], [0, top, left, bottom], [right, top, width, bottom]];
    for (const part of parts) this.sample(...part);
    for (const part of parts) this.findBoundaries(...part); // between parts too
  }

  // Sample the label map in a part of the canvas.
  sample(left, top, right, bottom) {
    const { leafAt, view } = this;
    const { width } = this.canvas;
    const { nLeaves, labels, width: columns, height: rows } = this.tree;
    const columnAt = Int32Array.from({ length: right - left }, (_, x) => this.toImage(left + x + 0.5, 0)[1]);
    const first = columnAt.findIndex((x) => x >= 0);
    const last = columnAt.findLastIndex((x) => x < columns);
    for (let y = top, before = NONE; y < bottom; y++) {
      const [start, row] = [y * width + left, this.toImage(0, y + 0.5)[0]];
      if (row === before) {
        leafAt.copyWithin(start, start - width, start - width + right - left);
        continue;
      }
      before = row;
      leafAt.fill(nLeaves, start, start + right - left); // outside the image
      if (row < 0 || row >= rows || first < 0) continue;
      for (let x = first; x <= last; x++) {
        const leaf = labels[row * columns + columnAt[x]];
        leafAt[start + x] = leaf < 0 ? nLeaves + 1 : leaf; // left out by a mask
      }
    }
    if (view.scale > 1) this.smoothSteps(left, top, right, bottom);
  }

  // Cut the corners of enlarged pixels, so that boundaries are lines instead of steps: a point takes the leaf with the
  // largest bilinear weight among the four pixels around it. The middle of a pixel keeps its leaf.
  smoothSteps(left, top, right, bottom) {
    const { leafAt, view } = this;
    const { width } = this.canvas;
    const { width: columns, height: rows, labels, nLeaves } = this.tree;
    // the pixels of the canvas between the middles of columns (rows) i and i + 1 of the image start at edge(i)
    const edge = (i, origin) => Math.ceil((i + 0.5) * view.scale + origin - 0.5);
    const at = (position, origin) => (position + 0.5 - origin) / view.scale - 0.5;
    const [first, firstRow] = [Math.floor(at(left, view.x)), Math.floor(at(top, view.y))];
    const [last, lastRow] = [Math.floor(at(right - 1, view.x)), Math.floor(at(bottom - 1, view.y))];
    for (let row = Math.max(firstRow, 0); row <= Math.min(lastRow, rows - 2); row++) {
      const [start, end] = [Math.max(edge(row, view.y), top), Math.min(edge(row + 1, view.y), bottom)];
      for (let column = Math.max(first, 0); column <= Math.min(last, columns - 2); column++) {
        const i = row * columns + column;
        const a = labels[i], b = labels[i + 1], c = labels[i + columns], d = labels[i + columns + 1];
        if (a === b && c === d && a === c) continue;
        const stop = Math.min(edge(column + 1, view.x), right);
        for (let y = start; y < end; y++) {
          const v = at(y, view.y) - row;
          for (let x = Math.max(edge(column, view.x), left); x < stop; x++) {
            const u = at(x, view.x) - column;
            const wa = (1 - u) * (1 - v), wb = u * (1 - v), wc = (1 - u) * v, wd = u * v;
            const ofA = wa + (b === a ? wb : 0) + (c === a ? wc : 0) + (d === a ? wd : 0);
            const ofB = wb + (a === b ? wa : 0) + (c === b ? wc : 0) + (d === b ? wd : 0);
            const ofC = wc + (a === c ? wa : 0) + (b === c ? wb : 0) + (d === c ? wd : 0);
            const ofD = wd + (a === d ? wa : 0) + (b === d ? wb : 0) + (c === d ? wc : 0);
            const most = Math.max(ofA, ofB, ofC, ofD);
            const leaf = most === ofA ? a : most === ofB ? b : most === ofC ? c : d;
            leafAt[y * width + x] = leaf < 0 ? nLeaves + 1 : leaf;
          }
        }
      }
    }
  }

  // List where boundaries cross rows and columns, after the pixels of a part of the canvas.
  findBoundaries(left, top, right, bottom) {
    const { leafAt } = this;
    const { width, height } = this.canvas;
    for (let y = top; y < bottom; y++) {
      const room = this.crossings.pair.length;
      if (this.nCrossings + 2 * width > room) this.crossings = crossingsOf(2 * room + 2 * width, this.crossings);
      for (let x = left, i = y * width + left; x < right; x++, i++) {
        const here = leafAt[i];
        if (x + 1 < width && leafAt[i + 1] !== here) this.addCrossing(here, leafAt[i + 1], i, 1);
        if (y + 1 < height && leafAt[i + width] !== here) this.addCrossing(here, leafAt[i + width], i, width);
      }
    }
  }

  addCrossing(leaf, other, pixel, stride) {
    const { crossings } = this;
    const k = this.nCrossings++;
    crossings.pair[k] = this.pairOf(leaf, other);
    crossings.pixel[k] = pixel;
    crossings.stride[k] = stride;
    crossings.offset[k] = 0.5;
    crossings.cosine[k] = 1;
  }

  // Follow each boundary over the rows (or columns) beside: its place is averaged over SMOOTHED of them on either side,
  // and its slope turns distances in the row into distances from the line.
  smoothBoundaries() {
    const { across, down, crossings } = this;
    const { width } = this.canvas;
    across.fill(0);
    down.fill(0);
    for (let k = 0; k < this.nCrossings; k++) {
      (crossings.stride[k] === 1 ? across : down)[crossings.pixel[k]] = crossings.pair[k] + 1;
    }
    for (let k = 0; k < this.nCrossings; k++) {
      const stride = crossings.stride[k];
      const marks = stride === 1 ? across : down, along = stride === 1 ? width : 1;
      const node = this.pairs.node[crossings.pair[k]];
      let before = crossings.pixel[k], after = before;
      let shiftBefore = 0, shiftAfter = 0, sum = 0, weights = SMOOTHED + 1, slope = 0;
      for (let step = 1; step <= SMOOTHED; step++) {
        const stepBefore = this.follow(marks, before - along, stride, node);
        const stepAfter = this.follow(marks, after + along, stride, node);
        if (stepBefore === 2 || stepAfter === 2) break;
        before += stepBefore * stride - along;
        after += stepAfter * stride + along;
        shiftBefore += stepBefore;
        shiftAfter += stepAfter;
        sum += (SMOOTHED + 1 - step) * (shiftBefore + shiftAfter);
        weights += 2 * (SMOOTHED + 1 - step);
        slope = (shiftAfter - shiftBefore) / (2 * step);
      }
      crossings.offset[k] = 0.5 + sum / weights;
      crossings.cosine[k] = 1 / Math.sqrt(1 + slope * slope);
    }
  }

  // The column of a boundary in the next row: 0, -1 or 1 pixels aside; 2 if it ends.
  follow(marks, i, stride, node) {
    const { node: nodes } = this.pairs;
    if (marks[i] && nodes[marks[i] - 1] === node) return 0;
    if (marks[i - stride] && nodes[marks[i - stride] - 1] === node) return -1;
    return marks[i + stride] && nodes[marks[i + stride] - 1] === node ? 1 : 2;
  }

  // The index of two neighbouring leaves in `pairs`.
  pairOf(a, b) {
    const { pairs, known } = this;
    const low = Math.min(a, b), high = Math.max(a, b);
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
    this.drawFill(fill);
    this.drawLines(this.linesOfPairs(lines, lineWidth, isUndone, outlined));
    this.context.putImageData(this.pixels, 0, 0);
    for (const stroke of strokes) this.drawStroke(stroke);
    if (cursor) this.drawCursor(cursor);
  }

  // Fill each pixel with the colour of its leaf: all, or only those that lines covered if nothing else has changed.
  drawFill(fill) {
    const { words, leafAt, filled, nearPixels } = this;
    if (filled && fill.every((color, leaf) => color === filled[leaf])) {
      for (let k = 0; k < this.nNear; k++) words[nearPixels[k]] = fill[leafAt[nearPixels[k]]];
    } else {
      for (let i = 0; i < words.length; i++) words[i] = fill[leafAt[i]];
    }
    this.filled = fill;
  }

  // Return the colour of the line of each pair, and last of none: 0 for no line, its half width and half that of the
  // dark line below it, and which lines are on top.
  linesOfPairs(lines, lineWidth, isUndone, outlined) {
    const { low, high, node } = this.pairs;
    const n = node.length;
    const [colors, order] = [new Uint32Array(n + 1), new Uint8Array(n + 1)];
    const [half, shade] = [new Float32Array(n + 1), new Float32Array(n + 1)];
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
    const { words, topAt, distanceAt, darkAt, nearPixels } = this;
    const { width, height } = this.canvas;
    const { pair: pairs, pixel: pixels, stride: strides, offset: offsets, cosine: cosines } = this.crossings;
    const bare = colors.length - 1; // only a dark line, below all others
    let nNear = 0;
    for (let k = 0; k < this.nCrossings; k++) {
      const pair = pairs[k];
      if (!colors[pair]) continue;
      const pixel = pixels[k], stride = strides[k], offset = offsets[k], cosine = cosines[k];
      const rank = order[pair], middle = half[pair], dark = shade[pair];
      const position = stride === 1 ? pixel % width : Math.floor(pixel / width);
      const reach = Math.max(middle, dark) / cosine;
      const first = Math.max(-position, Math.ceil(offset - reach));
      const last = Math.min((stride === 1 ? width : height) - 1 - position, Math.floor(offset + reach));
      for (let at = first, i = pixel + first * stride; at <= last; at++, i += stride) {
        const distance = Math.abs(at - offset) * cosine;
        if (topAt[i] === NONE) {
          nearPixels[nNear++] = i;
          topAt[i] = bare;
          darkAt[i] = 0;
        }
        if (dark - distance > darkAt[i]) darkAt[i] = dark - distance;
        if (distance >= middle) continue;
        const above = rank - order[topAt[i]];
        if (above < 0 || (above === 0 && distance >= distanceAt[i])) continue;
        topAt[i] = pair;
        distanceAt[i] = distance;
      }
    }
    for (let k = 0; k < nNear; k++) {
      const i = nearPixels[k];
      const top = topAt[i];
      const dark = SHADE_ALPHA * Math.min(darkAt[i], 1);
      const alpha = top === bare ? 0 : (Math.min(half[top] - distanceAt[i], 1) * (colors[top] >>> 24)) / 255;
      if (dark + alpha > 0) words[i] = over(colors[top], alpha, dark, words[i]);
      topAt[i] = NONE;
    }
    this.nNear = nNear;
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
