// Draw a cut of the tree over its image at the resolution of the screen.
//
// In   a tree, two canvases one over the other, the image; what to show as colours per leaf and flags
// Out  pixels; the leaf under a point of the canvas
// Not  no decisions: app.mjs decides what is shown
//
// Everything costs per pixel of the canvas, not of the image: the label map is sampled once for a view (layOut), a
// frame then takes colours from a table per leaf and looks at the pixels next to a boundary only.

const NONE = -1;

export const rgba = (red, green, blue, alpha) =>
  ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;

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
    this.known = { pair: new Float64Array(1 << 14).fill(NONE), node: new Int32Array(1 << 14) };
  }

  // Give the canvases a size in pixels.
  resize(width, height) {
    for (const canvas of [this.canvas, this.imageCanvas]) [canvas.width, canvas.height] = [width, height];
    this.pixels = new ImageData(width, height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.leafAt = new (this.tree.nLeaves < 65534 ? Uint16Array : Uint32Array)(width * height);
    this.edgeAt = new Int32Array(width * height);
    this.lightNode = new Int32Array(width * height);
    this.darkNode = new Int32Array(width * height);
  }

  toImage(x, y) {
    return [Math.floor((y - this.view.y) / this.view.scale), Math.floor((x - this.view.x) / this.view.scale)];
  }

  // The leaf at a pixel (y, x) of the image; -1 outside, and where a mask left the pixel out.
  leafOfPixel(y, x) {
    const { width, height, labels } = this.tree;
    return x >= 0 && y >= 0 && x < width && y < height ? labels[y * width + x] : NONE;
  }

  // Draw the image, and sample the label map, for a view.
  layOut(view) {
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
    this.findEdges();
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

  // List the pixels beside a leaf of another colour, with the node that parts them: light lines lie on the upper and
  // left side of a boundary, dark ones on the other, so that one of them shows on any ground.
  findEdges() {
    const { leafAt, edgeAt, lightNode, darkNode } = this;
    const { width, height } = this.canvas;
    let n = 0;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const i = y * width + x;
        const here = leafAt[i];
        const right = x + 1 < width ? leafAt[i + 1] : here;
        const below = y + 1 < height ? leafAt[i + width] : here;
        const left = x > 0 ? leafAt[i - 1] : here;
        const above = y > 0 ? leafAt[i - width] : here;
        if (right === here && below === here && left === here && above === here) continue;
        edgeAt[n] = i;
        lightNode[n] = this.higher(this.joining(here, right), this.joining(here, below));
        darkNode[n++] = this.higher(this.joining(here, left), this.joining(here, above));
      }
    }
    this.nEdges = n;
  }

  // Return the one of two nodes that is undone first; -1 counts for none.
  higher(a, b) {
    if (a === NONE || b === NONE) return Math.max(a, b);
    return this.tree.rank[a] <= this.tree.rank[b] ? a : b;
  }

  // The lowest node that holds both leaves; -1 for one leaf, or where one of them is none.
  joining(a, b) {
    if (a === b || a >= this.tree.nLeaves || b >= this.tree.nLeaves) return NONE;
    let [low, high] = a < b ? [a, b] : [b, a];
    const pair = low * this.tree.nLeaves + high;
    const slot = (low * 40503 + high) & (this.known.pair.length - 1); // a memo: pairs that collide are climbed again
    if (this.known.pair[slot] === pair) return this.known.node[slot];
    while (low !== high) {
      if (low < high) low = this.tree.parents[low];
      else high = this.tree.parents[high];
    }
    this.known.pair[slot] = pair;
    this.known.node[slot] = low;
    return low;
  }

  // Draw one frame. fill (N + 2): colour per leaf, then outside and where a mask left pixels out; lines: colour per
  // node, or null, of a width in pixels; isUndone (M) of the cut; outlined [{flags (N + 2), color, isThick}]; strokes
  // [{points, color}]; cursor [y, x] or null.
  draw({ fill, lines, lineWidth, isUndone, outlined, strokes, cursor }) {
    const { words, leafAt } = this;
    for (let i = 0; i < words.length; i++) words[i] = fill[leafAt[i]];
    if (lines) this.drawLines(lines, lineWidth, isUndone);
    for (const outline of outlined) this.drawOutline(outline);
    this.context.putImageData(this.pixels, 0, 0);
    for (const stroke of strokes) this.drawStroke(stroke);
    if (cursor) this.drawCursor(cursor);
  }

  // The light line grows upwards and to the left, away from its shadow.
  drawLines(lines, width, isUndone) {
    const { words, edgeAt, lightNode, darkNode } = this;
    const row = this.canvas.width;
    const dark = rgba(0, 0, 0, 0.55);
    const isStrong = (node) => lines[node] >>> 24 > 127; // a faint line has no shadow
    for (let e = 0; e < this.nEdges; e++) {
      if (darkNode[e] !== NONE && isUndone[darkNode[e]] && isStrong(darkNode[e])) words[edgeAt[e]] = dark;
    }
    for (let e = 0; e < this.nEdges; e++) {
      if (lightNode[e] === NONE || !isUndone[lightNode[e]]) continue;
      const x = edgeAt[e] % row;
      for (let dy = 0; dy < width; dy++) {
        for (let dx = 0; dx < width && dx <= x; dx++) words[edgeAt[e] - dy * row - dx] = lines[lightNode[e]];
      }
    }
  }

  drawOutline({ flags, color, isThick }) {
    const { words, edgeAt, leafAt } = this;
    const { width } = this.canvas;
    const outer = rgba(0, 0, 0, 1);
    for (let e = 0; e < this.nEdges; e++) {
      const i = edgeAt[e];
      const own = flags[leafAt[i]];
      // beyond the ends of a row or of the canvas the neighbour is another row's pixel or undefined: no harm
      const [a, b] = [flags[leafAt[i - 1]], flags[leafAt[i + 1]]];
      const [c, d] = [flags[leafAt[i - width]], flags[leafAt[i + width]]];
      if (own && !(a && b && c && d)) {
        words[i] = color;
        if (!isThick) continue;
        // twice as wide, inwards
        if (a) words[i - 1] = color;
        if (b) words[i + 1] = color;
        if (c) words[i - width] = color;
        if (d) words[i + width] = color;
      }
      if (!own && (a || b || c || d)) words[i] = outer;
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
