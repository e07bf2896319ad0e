// State of a session: selected nodes, strokes, names of labels; undo and redo.
//
// In   a session {selection: [{node, label}], strokes: [{label, points}], names: [text per label]}
// Out  new sessions; histories {past, present, future} of them
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
