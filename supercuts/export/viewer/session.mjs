// State of a session: selected nodes, strokes, names of labels; undo and redo.
//
// In   a session {selection: [{node, label}], strokes: [{label, points}], names: [text per label]}
// Out  new sessions; histories {past, present, future} of them
//      sessions as JSON documents and back
// Not  no drawing, no page; a session is never changed in place

import { pathToRoot } from "./tree.mjs";

export const COLORS = [
  "#e6550d", "#0096ff", "#31b057", "#c040d0", "#e8c000", "#00b8b0", "#ff5f9e", "#8a6d3b", "#7a7aff",
];

export const EMPTY_SESSION = { selection: [], strokes: [], names: ["object", "background"] };

// Select a node under a label: alone, or with isAdding beside the others; one that covers it already is taken out.
export function clickNode(tree, session, node, label, isAdding) {
  if (!isAdding) return { ...session, selection: [{ node, label }] };
  const path = pathToRoot(tree.parents, node);
  const covering = session.selection.find((entry) => path.includes(entry.node));
  if (covering) return { ...session, selection: session.selection.filter((entry) => entry !== covering) };
  const isBelow = (at) => pathToRoot(tree.parents, at).includes(node);
  return { ...session, selection: [...session.selection.filter((entry) => !isBelow(entry.node)), { node, label }] };
}

export function startHistory(present) {
  return { past: [], present, future: [] };
}

export function record(history, present) {
  return present === history.present ? history : { past: [...history.past, history.present], present, future: [] };
}

export function undo({ past, present, future }) {
  if (!past.length) return { past, present, future };
  return { past: past.slice(0, -1), present: past.at(-1), future: [present, ...future] };
}

export function redo({ past, present, future }) {
  if (!future.length) return { past, present, future };
  return { past: [...past, present], present: future[0], future: future.slice(1) };
}

const FORMAT = "supercuts-session";

// Return a viewer's session as a document; name and digest say which hierarchy it belongs to.
export function sessionDocument({ session, how, tree }, { name, digest }) {
  const { height, width } = tree;
  const cut = Object.fromEntries(["level", "altitude", "nRegions"].filter((key) => key in how).map((key) => [key, how[key]]));
  return { format: FORMAT, version: 1, image: { name, digest, height, width }, cut, ...session };
}

// Return {session, how} of a document's text; throw an Error that says what is wrong with it.
export function readSession(text, tree, { digest }) {
  const isCount = (value, most) => Number.isInteger(value) && value >= 0 && value < most;
  const check = (isGood, what) => {
    if (!isGood) throw new Error(`This is no session of this image: ${what}.`);
  };
  let document = null;
  try {
    document = JSON.parse(text);
  } catch {
    check(false, "it is not JSON");
  }
  check(document?.format === FORMAT && document.version === 1, `its format is not ${FORMAT} 1`);
  check(document.image?.digest === digest, `it was saved from ${document.image?.name ?? "another image"}`);
  const { selection, strokes, names, cut } = document;
  check([selection, strokes, names].every(Array.isArray), "selection, strokes or names are missing");
  const areNames = names.length && names.length <= COLORS.length && names.every((name) => typeof name === "string");
  check(areNames, `it has no names, or more than ${COLORS.length}`);
  const isLabel = (label) => isCount(label - 1, names.length);
  const isNode = ({ node, label }) => isCount(node, tree.nNodes) && isLabel(label);
  check(selection.every(isNode), "it selects a region that is not there");
  const isPoint = (point) => isCount(point[0], tree.height) && isCount(point[1], tree.width);
  const isStroke = ({ label, points }) => isLabel(label) && points.length > 0 && points.every(isPoint);
  check(strokes.every(isStroke), "a stroke leaves the image");
  const session = {
    selection: selection.map(({ node, label }) => ({ node, label })),
    strokes: strokes.map(({ label, points }) => ({ label, points: points.map(([y, x]) => [y, x]) })),
    names,
  };
  const { level, altitude, nRegions } = cut ?? {};
  if (level === "superpixels" || level in tree.levels) return { session, how: { level } };
  if (altitude >= 0 && altitude <= 1) return { session, how: { altitude } };
  return { session, how: isCount(nRegions - 1, tree.nLeaves) ? { nRegions } : null };
}
