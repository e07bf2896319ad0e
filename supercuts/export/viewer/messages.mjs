// Let the page that frames or opened the viewer read and change what is done in it, by postMessage.
//
// In   messages {supercuts: "set" | "load" | "get", ...} of that page, of no other
// Out  messages {supercuts: "ready" | "change" | "result" | "error", ...} to it
// Not  no message without such a page

import { readSession, sessionDocument } from "./session.mjs";

const ANSWERS = {
  regions: (viewer) => viewer.labelMap(),
  labels: (viewer) => viewer.pixelLabels(),
  mask: (viewer, { label }) => viewer.mask(label),
};

export function bindMessages(viewer, about) {
  const host = window.parent === window ? window.opener : window.parent;
  if (!host) return;
  const { height, width, nLeaves, levels } = viewer.tree;
  const send = (type, values) => host.postMessage({ supercuts: type, ...values }, "*");
  const present = () => sessionDocument(viewer, about);
  const actions = {
    set: ({ cut, selection, strokes, names }) => {
      const given = Object.entries({ cut, selection, strokes, names }).filter(([, value]) => value !== undefined);
      const wanted = { ...present(), ...Object.fromEntries(given) };
      const { session, how } = readSession(JSON.stringify(wanted), viewer.tree, about);
      if (selection ?? strokes ?? names) viewer.change({ ...viewer.session, ...session });
      if (cut && how) viewer.cutAt(how);
    },
    load: ({ labels }) => viewer.load(labels),
    get: (message) => {
      const { what, id } = message;
      if (what === "session") return send("result", { id, what, session: present() });
      if (!Object.hasOwn(ANSWERS, what)) {
        throw new Error(`what is ${what}: expected session, ${Object.keys(ANSWERS).join(", ")}.`);
      }
      return send("result", { id, what, height, width, data: ANSWERS[what](viewer, message) });
    },
  };
  addEventListener("message", ({ source, data }) => {
    if (source !== host || typeof data?.supercuts !== "string" || !Object.hasOwn(actions, data.supercuts)) return;
    try {
      actions[data.supercuts](data);
    } catch (error) {
      send("error", { id: data.id, message: error.message });
    }
  });
  let sent = [];
  viewer.addEventListener("change", () => {
    const { session, cut } = viewer;
    if (session === sent[0] && cut === sent[1]) return; // most frames only move the pointer
    sent = [session, cut];
    send("change", { ...present(), regions: cut.nodes.length });
  });
  send("ready", { name: about.name, height, width, superpixels: nLeaves, levels });
}
