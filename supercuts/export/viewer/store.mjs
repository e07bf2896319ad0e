// Keep what the user does: in the browser's storage while they work, and a question before unsaved work is left.
//
// In   a Viewer; the name and the digest of its hierarchy
// Out  the stored session, restored when the page opens; `store` to store it now, before another page of the same kind
// Not  no files: panel.mjs saves and opens them

import { EMPTY_SESSION, readSession, sessionDocument } from "./session.mjs";

const WAIT_MS = 300; // between a change and its storage

export const isEmpty = ({ selection, strokes, names }) =>
  !selection.length && !strokes.length && JSON.stringify(names) === JSON.stringify(EMPTY_SESSION.names);

// Restore the session that the browser stored for this hierarchy; return {isRestored, store}. After store() succeeded,
// leaving asks nothing.
export function keepSession(viewer, about) {
  const key = `supercuts:${about.digest}`;
  let timer = null;
  let stored = null;
  const store = () => {
    timer = null;
    try {
      localStorage.setItem(key, JSON.stringify(sessionDocument(viewer, about)));
      return true;
    } catch {
      return false;
      // storage is full or forbidden: the question before leaving remains
    }
  };
  viewer.addEventListener("change", () => {
    if (stored === viewer.session && viewer.storedCut === viewer.cut) return;
    [stored, viewer.storedCut] = [viewer.session, viewer.cut];
    timer ??= setTimeout(store, WAIT_MS);
  });
  addEventListener("pagehide", () => timer !== null && store());
  addEventListener("beforeunload", (event) => {
    const isTouched = navigator.userActivation?.hasBeenActive ?? true; // browsers ask nothing before that, and say so
    if (isTouched && viewer.session !== viewer.savedSession && !isEmpty(viewer.session)) event.preventDefault();
  });
  const kept = { isRestored: false, store: () => store() && (viewer.savedSession = viewer.session) };
  try {
    const text = localStorage.getItem(key);
    if (text === null) return kept;
    const { session, how } = readSession(text, viewer.tree, about);
    viewer.restore(session, how);
    kept.isRestored = !isEmpty(session);
  } catch {
    // storage is forbidden, or holds a session of another version
  }
  return kept;
}
