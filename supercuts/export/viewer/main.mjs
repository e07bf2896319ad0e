// Start the viewer of a page.
//
// In   the JSON in the element "payload": arrays, sizes, levels, the image as a data URL
// Out  a running page; window.supercuts, the Viewer, for scripts and tests
// Not  no network

import { Viewer } from "./app.mjs";
import { Painter } from "./draw.mjs";
import { bindMessages } from "./messages.mjs";
import { unpackArray } from "./packed.mjs";
import { bindLinks, bindPanel, keyActions, say } from "./panel.mjs";
import { bindStage } from "./stage.mjs";
import { keepSession } from "./store.mjs";
import { makeTree } from "./tree.mjs";

async function loadImage(url) {
  if (!url) return null;
  const image = new Image();
  image.src = url;
  await image.decode();
  return createImageBitmap(image); // decoded once and for all
}

async function start() {
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const [labels, parents, altitudes, leafMeans, leafColors] = await Promise.all([
    unpackArray(payload.labels, payload.labels_kind === "uint16" ? Uint16Array : Int32Array),
    unpackArray(payload.parents, Int32Array),
    unpackArray(payload.altitudes, Float32Array),
    unpackArray(payload.mean_colors, Uint8Array),
    unpackArray(payload.random_colors, Uint8Array),
  ]);
  const { height, width, levels, n_forced: nForced, n_frozen: nFrozen } = payload;
  const tree = makeTree({ labels, parents, altitudes, height, width, levels, nForced, nFrozen });
  const canvas = document.getElementById("overlay");
  const painter = new Painter(tree, await loadImage(payload.image), document.getElementById("image"), canvas);
  const viewer = new Viewer(tree, painter, leafMeans, leafColors);
  if (!payload.image) {
    document.querySelector("#fill option[value=mean]").remove(); // of no image
    document.getElementById("fill").value = viewer.shown.fill = "random";
  }
  const about = { name: payload.name, digest: payload.digest, fileName: payload.file_name };
  bindPanel(viewer, about);
  bindStage(viewer, canvas, keyActions(viewer));
  viewer.cutAt("object" in levels ? { level: "object" } : { nRegions: Math.round(Math.sqrt(tree.nLeaves)) });
  const kept = keepSession(viewer, about);
  if (payload.links) bindLinks(payload.links, kept.store);
  if (kept.isRestored) say("What you did here before is back. Clear removes it.");
  window.supercuts = viewer;
  bindMessages(viewer, about);
}

start().catch((error) => {
  say(`The viewer did not start: ${error.message}`, true);
  throw error;
});
