// Connect the viewer of a hierarchy to a notebook widget: selection, strokes, names of labels and the cut.
//
// In   an anywidget model: _page (the viewer's page), height, selection, strokes, names, cut
// Out  the page in a frame inside `el`; a change on either side is made on the other
// Not  no viewer of its own: the frame holds the page that `show` opens

const PARTS = ["selection", "strokes", "names"];
const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function cutOf({ level, altitude, nRegions }) {
  if (level) return { level };
  return altitude === undefined ? { regions: nRegions } : { altitude };
}

const howOf = (cut) => ("regions" in cut ? { nRegions: cut.regions } : { ...cut });

async function viewerOf(frame) {
  while (!frame.contentWindow?.supercuts) await new Promise((resolve) => setTimeout(resolve, 30));
  return frame.contentWindow.supercuts;
}

function render({ model, el }) {
  const frame = document.createElement("iframe");
  Object.assign(frame.style, { width: "100%", height: `${model.get("height")}px`, border: "0" });
  frame.srcdoc = model.get("_page");
  el.append(frame);
  let viewer = null;
  let sent = [];

  const toPage = () => {
    const { session } = viewer;
    const wanted = Object.fromEntries(PARTS.map((part) => [part, model.get(part)]));
    if (!wanted.names.length) wanted.names = session.names;
    if (!PARTS.every((part) => isSame(wanted[part], session[part]))) viewer.change({ ...session, ...wanted });
    const cut = model.get("cut");
    if (Object.keys(cut).length && !isSame(cut, cutOf(viewer.how))) viewer.cutAt(howOf(cut));
  };

  const toModel = () => {
    const { session, how } = viewer;
    if (sent[0] === session && sent[1] === how) return; // most frames only move the pointer
    sent = [session, how];
    const values = { ...Object.fromEntries(PARTS.map((part) => [part, session[part]])), cut: cutOf(how) };
    const changed = Object.entries(values).filter(([part, value]) => !isSame(value, model.get(part)));
    for (const [part, value] of changed) model.set(part, structuredClone(value));
    if (changed.length) model.save_changes();
  };

  const follow = () => viewer && toPage();
  for (const part of [...PARTS, "cut"]) model.on(`change:${part}`, follow);
  viewerOf(frame).then((opened) => {
    viewer = opened;
    const isSet = PARTS.some((part) => model.get(part).length) || Object.keys(model.get("cut")).length > 0;
    if (isSet) toPage(); // else the page may have restored what was done before
    viewer.addEventListener("change", toModel);
    viewer.redraw("labels");
  });
  return () => [...PARTS, "cut"].forEach((part) => model.off(`change:${part}`, follow));
}

export default { render };
