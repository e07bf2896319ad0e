// Answer queries on an .npz with the viewer's own modules: JSON on stdin, JSON on stdout; test_html_viewer.py compares.
import { readFileSync } from "node:fs";
import { polygonsOf, cocoDocument } from "../../supercuts/export/viewer/files.mjs";
import { readNpz } from "../../supercuts/export/viewer/npz.mjs";
import { EMPTY_SESSION, clickNode, record, redo, startHistory, undo } from "../../supercuts/export/viewer/session.mjs";
import * as trees from "../../supercuts/export/viewer/tree.mjs";

const { path, cuts = [], strokes, points = [], masks = [], clicks = [] } = JSON.parse(readFileSync(0));
const bytes = readFileSync(path);
const hierarchy = await readNpz(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const tree = trees.makeTree(hierarchy);

const cut = ({ regions, altitude, level, granularity }) => {
  if (granularity !== undefined) return trees.cutByCount(tree, trees.countOfGranularity(granularity, tree.nLeaves));
  if (regions !== undefined) return trees.cutByCount(tree, regions);
  return trees.cutByAltitude(tree, level === undefined ? altitude : tree.levels[level]);
};

function scribbled() {
  const drawn = trees.drawStrokes(strokes, tree.width);
  const map = new Int32Array(tree.labels.length);
  for (const [pixel, label] of drawn) map[pixel] = label;
  const spread = trees.spreadScribbles(tree, drawn);
  return { drawn: [...map], spread: spread && [...trees.paint(spread, tree.labels)] };
}

function history() {
  let past = startHistory(EMPTY_SESSION);
  const seen = [];
  for (const click of clicks) {
    if (click === "undo") past = undo(past);
    else if (click === "redo") past = redo(past);
    else past = record(past, clickNode(tree, past.present, click[0], 1, click[1]));
    seen.push(past.present.selection.map(({ node }) => node));
  }
  return seen;
}

console.log(
  JSON.stringify({
    cuts: cuts.map((how) => [...trees.paint(cut(how).regionOfLeaf, tree.labels)]),
    nodes: cuts.map((how) => [...cut(how).nodes]),
    levels: tree.levels,
    image: hierarchy.image && [...hierarchy.image],
    areas: [...tree.areas],
    scribbles: strokes && scribbled(),
    near: points.map(([y, x, regions, steps]) => {
      const leaf = tree.labels[y * tree.width + x];
      return trees.nodeNear(tree.parents, leaf, trees.cutByCount(tree, regions).topOfLeaf[leaf], steps);
    }),
    polygons: masks.map((mask) => polygonsOf(mask, tree.width, tree.height)),
    coco: masks.map((mask) => cocoDocument([{ label: 1, name: "a", mask }], "a.png", tree.width, tree.height)),
    selections: history(),
  }),
);
