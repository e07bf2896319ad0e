// Queries on a merge tree: the same answers as supercuts/hierarchy/*.py, on typed arrays.
//
// In   labels (H * W), parents (M), altitudes (M) as readNpz or the page gives them -- leaves first, root last;
//      a label of -1 is a pixel that a mask left out, which is in no leaf
// Out  cuts {nodes, regionOfLeaf, topOfLeaf, isUndone}, paths, labels per leaf, strokes as pixels
// Not  no drawing, no page, no state: every function answers from its arguments

// Gather what every query needs; levels {name: altitude}, nForced and nFrozen as in hierarchy/cuts.py Limits.
export function makeTree({ labels, parents, altitudes, height, width, levels = {}, nForced = 0, nFrozen = 0 }) {
  const nNodes = parents.length;
  const leafAreas = countPixels(labels);
  const nLeaves = leafAreas.length;
  const asked = Float32Array.from(altitudes);
  asked.fill(Infinity, nNodes - nForced); // above every altitude that can be asked for
  // highest first; among equals the higher id, so that a parent comes before its child
  const order = Int32Array.from({ length: nNodes - nLeaves }, (_, i) => nLeaves + i);
  order.sort((a, b) => asked[b] - asked[a] || b - a);
  const nChildren = new Int32Array(nNodes);
  for (let node = 0; node < nNodes - 1; node++) nChildren[parents[node]]++;
  const isFrozen = (node) => node < nLeaves + nFrozen && node < nNodes - nForced;
  const areas = sumToRoot(parents, leafAreas);
  const leafCounts = sumToRoot(parents, new Float64Array(nLeaves).fill(1));
  const tree = { labels, parents, altitudes, height, width, levels, nForced, nFrozen };
  return { ...tree, nNodes, nLeaves, leafAreas, areas, leafCounts, asked, order, nChildren, isFrozen };
}

// Undo the highest merges until there are nRegions; with edits, the nearest count that they allow.
export function cutByCount(tree, nRegions) {
  const { parents, order, nChildren, nNodes, nLeaves, nForced, nFrozen } = tree;
  let least = 1 - nForced;
  let most = nLeaves + nFrozen;
  for (let node = 0; node < nNodes - 1; node++) {
    if (parents[node] >= nNodes - nForced) least++;
    if (parents[node] < nLeaves + nFrozen) most--;
  }
  const wanted = Math.min(Math.max(nRegions, least), most);
  const isSplit = new Uint8Array(nNodes);
  let count = 1;
  for (const node of order) {
    count += nChildren[node] - 1;
    if (count > wanted) break;
    isSplit[node] = tree.isFrozen(node) ? 0 : 1;
  }
  return numberRegions(tree, isSplit);
}

// The largest nodes that were merged at or below the altitude, compared in float32 as the tree stores it.
export function cutByAltitude(tree, altitude) {
  const limit = Math.fround(altitude);
  const isSplit = new Uint8Array(tree.nNodes);
  for (const node of tree.order) isSplit[node] = tree.asked[node] > limit && !tree.isFrozen(node) ? 1 : 0;
  return numberRegions(tree, isSplit);
}

// The number of regions on a log scale, 1 at granularity 0 and every leaf at 1.
export function countOfGranularity(granularity, nLeaves) {
  return Math.min(nLeaves, Math.max(1, roundHalfEven(Math.exp(granularity * Math.log(nLeaves)))));
}

// The granularity whose count this is.
export function granularityOfCount(count, nLeaves) {
  return nLeaves > 1 ? Math.log(count) / Math.log(nLeaves) : 0;
}

// A value per leaf as a value per pixel; where no leaf is, -1, or 0 in an array of no signs.
export function paint(values, labels) {
  const out = new values.constructor(labels.length);
  const nowhere = values instanceof Int32Array ? -1 : 0;
  for (let i = 0; i < labels.length; i++) out[i] = labels[i] < 0 ? nowhere : values[labels[i]];
  return out;
}

// A node and those above it, root last.
export function pathToRoot(parents, start) {
  const path = [start];
  for (let node = start; parents[node] !== node; node = parents[node]) path.push(parents[node]);
  return path;
}

// The node `steps` above a node that holds a leaf, or below it on the way to the leaf; the ends are root and leaf.
export function nodeNear(parents, leaf, node, steps) {
  const path = pathToRoot(parents, leaf);
  return path[Math.min(Math.max(path.indexOf(node) + steps, 0), path.length - 1)];
}

// 1 for each leaf under one of the nodes, else 0.
export function leavesUnder(tree, nodes) {
  const isBelow = new Uint8Array(tree.nNodes);
  for (const node of nodes) isBelow[node] = 1;
  for (let node = tree.nNodes - 2; node >= 0; node--) isBelow[node] |= isBelow[tree.parents[node]];
  return isBelow.subarray(0, tree.nLeaves);
}

// Pixel index -> label of strokes [{label, points: [[y, x], ...]}]: lines one pixel wide; the last one is seen.
export function drawStrokes(strokes, width) {
  const drawn = new Map();
  for (const { label, points } of strokes) {
    points.forEach(([y, x], i) => {
      const [endY, endX] = points[Math.min(i + 1, points.length - 1)];
      const nSteps = Math.max(Math.abs(endY - y), Math.abs(endX - x));
      const stepY = nSteps ? (endY - y) / nSteps : 0;
      const stepX = nSteps ? (endX - x) / nSteps : 0;
      for (let k = 0; k < nSteps; k++) {
        drawn.set(roundHalfEven(k * stepY + y) * width + roundHalfEven(k * stepX + x), label);
      }
      drawn.set(endY * width + endX, label);
    });
  }
  return drawn;
}

// The label of each leaf after scribbles (pixel index -> label from 1 up) have spread along the tree; null without any
// on a leaf.
export function spreadScribbles(tree, scribbles) {
  const marks = [...scribbles].filter(([pixel]) => tree.labels[pixel] >= 0);
  if (!marks.length) return null;
  const values = [...new Set(marks.map(([, label]) => label))].sort((a, b) => a - b);
  const indexOf = new Map(values.map((value, i) => [value, i]));
  const votes = new Int32Array(tree.nLeaves * values.length);
  for (const [pixel, label] of marks) votes[tree.labels[pixel] * values.length + indexOf.get(label)]++;
  const winner = new Int32Array(tree.nNodes).fill(-1);
  for (let leaf = 0; leaf < tree.nLeaves; leaf++) {
    const widest = firstHighest(votes, leaf * values.length, values.length);
    if (votes[leaf * values.length + widest] > 0) winner[leaf] = widest;
  }
  settleByCover(tree, winner, values.length);
  return Int32Array.from(winner.subarray(0, tree.nLeaves), (index) => values[index]);
}

// Fill winner (M): a node takes the label that covers most of it once its labelled children are resolved.
function settleByCover({ parents, areas, nNodes }, winner, nLabels) {
  const cover = new Float64Array(nNodes * nLabels); // pixels; exact up to 2 ** 53
  for (let node = 0; node < nNodes; node++) {
    const row = node * nLabels;
    let covered = 0;
    for (let label = 0; label < nLabels; label++) covered += cover[row + label];
    if (covered > 0) winner[node] = firstHighest(cover, row, nLabels);
    if (winner[node] >= 0) cover[row + winner[node]] += areas[node] - covered;
    if (parents[node] === node) continue;
    for (let label = 0; label < nLabels; label++) cover[parents[node] * nLabels + label] += cover[row + label];
  }
  for (let node = nNodes - 2; node >= 0; node--) if (winner[node] < 0) winner[node] = winner[parents[node]];
}

// The largest nodes [{node, label}] whose leaves all have a label, by most of their pixels; of the labels (H * W), 0
// and those above `most` are none.
export function nodesOfLabels({ labels: leafAt, parents, nNodes, nLeaves }, labels, most) {
  const votes = new Int32Array(nLeaves * (most + 1));
  for (let i = 0; i < labels.length; i++) {
    if (leafAt[i] >= 0) votes[leafAt[i] * (most + 1) + (labels[i] <= most ? labels[i] : 0)]++;
  }
  const labelOf = new Int32Array(nNodes).fill(-1); // -1: no leaf seen yet; 0: none, or several
  for (let leaf = 0; leaf < nLeaves; leaf++) labelOf[leaf] = firstHighest(votes, leaf * (most + 1), most + 1);
  for (let node = 0; node < nNodes - 1; node++) {
    const parent = parents[node];
    labelOf[parent] = labelOf[parent] === -1 || labelOf[parent] === labelOf[node] ? labelOf[node] : 0;
  }
  const isLargest = (node) => labelOf[node] > 0 && (node === nNodes - 1 || labelOf[parents[node]] === 0);
  return Array.from(labelOf, (label, node) => ({ node, label })).filter(({ node }) => isLargest(node));
}

function numberRegions({ parents, nNodes, nLeaves }, isSplit) {
  const top = new Int32Array(nNodes);
  const isUndone = new Uint8Array(nNodes); // split, and so is every ancestor
  for (let node = nNodes - 1; node >= 0; node--) {
    if (node === nNodes - 1 || isUndone[parents[node]]) {
      top[node] = node;
      isUndone[node] = isSplit[node];
    } else top[node] = top[parents[node]];
  }
  const regionOfNode = new Int32Array(nNodes).fill(-1);
  const regionOfLeaf = new Int32Array(nLeaves);
  const nodes = [];
  for (let leaf = 0; leaf < nLeaves; leaf++) {
    if (regionOfNode[top[leaf]] < 0) regionOfNode[top[leaf]] = nodes.push(top[leaf]) - 1;
    regionOfLeaf[leaf] = regionOfNode[top[leaf]];
  }
  return { nodes: Int32Array.from(nodes), regionOfLeaf, topOfLeaf: top.subarray(0, nLeaves), isUndone };
}

function countPixels(labels) {
  let highest = 0;
  for (let i = 0; i < labels.length; i++) if (labels[i] > highest) highest = labels[i];
  const counts = new Float64Array(highest + 1);
  for (let i = 0; i < labels.length; i++) if (labels[i] >= 0) counts[labels[i]]++;
  return counts;
}

function sumToRoot(parents, leafValues) {
  const sums = new Float64Array(parents.length);
  sums.set(leafValues);
  for (let node = 0; node < parents.length - 1; node++) sums[parents[node]] += sums[node];
  return sums;
}

function firstHighest(values, start, length) {
  let best = 0;
  for (let i = 1; i < length; i++) if (values[start + i] > values[start + best]) best = i;
  return best;
}

function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
