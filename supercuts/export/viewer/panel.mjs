// The controls beside the image.
//
// In   a Viewer
// Out  calls of its methods; texts and states of the controls after each frame; downloads
// Not  no pointer on the image (stage.mjs)

import { cocoDocument, geoJsonDocument, maskPng } from "./files.mjs";
import { COLORS } from "./session.mjs";
import { countOfGranularity } from "./tree.mjs";

const element = (id) => document.getElementById(id);

export function bindPanel(viewer, name) {
  bindCut(viewer);
  bindOverlay(viewer);
  bindSelection(viewer);
  bindFiles(viewer, name);
  bindDialog();
  element("zoom-in").addEventListener("click", () => viewer.zoom(1.5));
  element("zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.5));
  element("zoom-fit").addEventListener("click", () => viewer.fit());
  viewer.addEventListener("change", () => update(viewer));
}

// Actions of keys, independent of the focus.
export function keyActions(viewer) {
  const press = (selector) => () => document.querySelector(selector).click();
  const next = (id) => () => {
    element(id).selectedIndex = (element(id).selectedIndex + 1) % element(id).options.length;
    element(id).dispatchEvent(new Event("change"));
  };
  const step = (factor) => () => {
    const [now, most] = [viewer.cut.nodes.length, viewer.tree.nLeaves];
    let wanted = factor > 1 ? Math.max(now + 1, Math.round(now * factor)) : Math.min(now - 1, Math.round(now * factor));
    wanted = Math.min(Math.max(wanted, 1), most);
    viewer.cutAt({ nRegions: wanted });
    // a node of several children skips counts: on to the next that there is
    while (factor > 1 && viewer.cut.nodes.length === now && wanted < most) viewer.cutAt({ nRegions: ++wanted });
  };
  const levels = Object.entries({ s: "scene", o: "object", p: "part", x: "superpixels" });
  const labels = COLORS.map((_, i) => [String(i + 1), () => viewer.useLabel(i + 1)]);
  return {
    ...Object.fromEntries(levels.map(([key, level]) => [key, press(`[data-level=${level}]`)])),
    ...Object.fromEntries(labels),
    ",": step(1 / 1.15), ".": step(1.15), b: next("boundaries"), f: next("fill"),
    v: press("#tool-select"), d: press("#tool-scribble"), a: press("#add-mode"),
    "+": press("#zoom-in"), "=": press("#zoom-in"), "-": press("#zoom-out"), 0: press("#zoom-fit"),
    t: press("#theme"), "?": press("#help-open"), Escape: press("#clear"),
    isSingleKeyAllowed: () => element("single-keys").checked,
  };
}

function bindCut(viewer) {
  const { tree } = viewer;
  element("regions").max = tree.nLeaves;
  element("granularity").addEventListener("input", (event) => {
    viewer.cutAt({ nRegions: countOfGranularity(Number(event.target.value), tree.nLeaves), isSlider: true });
  });
  element("regions").addEventListener("change", (event) => {
    const count = Math.round(Number(event.target.value)) || 1;
    viewer.cutAt({ nRegions: Math.min(Math.max(count, 1), tree.nLeaves) });
  });
  element("altitude").addEventListener("change", (event) => {
    viewer.cutAt({ altitude: Math.min(Math.max(Number(event.target.value) || 0, 0), 1) });
  });
  for (const button of document.querySelectorAll("[data-level]")) {
    const { level } = button.dataset;
    button.addEventListener("click", () => viewer.cutAt({ level }));
    if (level !== "superpixels" && !(level in tree.levels)) {
      button.disabled = true;
      button.title = "This hierarchy was made by a model without calibrated levels.";
    }
  }
}

function bindOverlay(viewer) {
  for (const id of ["boundaries", "fill"]) {
    element(id).addEventListener("change", (event) => viewer.show({ [id]: event.target.value }));
  }
  element("opacity").addEventListener("input", (event) => viewer.show({ opacity: Number(event.target.value) }));
  element("to-parent").addEventListener("click", () => viewer.climb(1));
  element("to-child").addEventListener("click", () => viewer.climb(-1));
}

function bindSelection(viewer) {
  const onClick = {
    "tool-select": () => viewer.useTool("select"),
    "tool-scribble": () => viewer.useTool("scribble"),
    "add-mode": () => {
      viewer.isAdding = !viewer.isAdding;
      viewer.redraw("frame");
    },
    "add-label": () => viewer.addLabel(),
    undo: () => viewer.undo(),
    redo: () => viewer.redo(),
    clear: () => viewer.clear(),
  };
  for (const [id, act] of Object.entries(onClick)) element(id).addEventListener("click", act);
}

function bindFiles(viewer, name) {
  const { width, height } = viewer.tree;
  const asBlob = (document, type) => new Blob([JSON.stringify(document)], { type });
  const files = {
    "save-png": ["_mask.png", () => maskPng(viewer.mask(), width, height)],
    "save-coco": ["_coco.json", () => asBlob(cocoDocument(viewer.masks(), name, width, height), "application/json")],
    "save-geojson": [".geojson", () => asBlob(geoJsonDocument(viewer.masks(), width, height), "application/geo+json")],
  };
  for (const [id, [suffix, make]] of Object.entries(files)) {
    element(id).addEventListener("click", async () => {
      const url = URL.createObjectURL(await make());
      Object.assign(document.createElement("a"), { href: url, download: name + suffix }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it after the click
    });
  }
}

function bindDialog() {
  element("help-open").addEventListener("click", () => element("help").showModal());
  element("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const byDefault = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme ?? byDefault) === "dark" ? "light" : "dark";
  });
}

function update(viewer) {
  updateCut(viewer);
  updateNumbers(viewer);
  updateSelection(viewer);
}

function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text; // unchanged text costs no layout
}

function updateCut(viewer) {
  const count = viewer.cut.nodes.length;
  const slider = element("granularity");
  if (!viewer.how.isSlider) slider.value = viewer.granularity;
  const text = `${count} ${count === 1 ? "region" : "regions"}`;
  setText("count", text);
  slider.setAttribute("aria-valuetext", text);
  if (element("regions").shownCut !== viewer.cut) {
    // for a new cut only: a frame that is drawn while somebody types leaves the number alone
    element("regions").shownCut = viewer.cut;
    element("regions").value = count;
    element("altitude").value = Number(viewer.altitude.toFixed(6));
  }
  for (const button of document.querySelectorAll("[data-level]")) {
    button.setAttribute("aria-pressed", viewer.how.level === button.dataset.level);
  }
  setText("opacity-value", `${Math.round(100 * viewer.shown.opacity)} %`);
}

function updateNumbers({ tree, hovered }) {
  const rows = hovered < 0 ? [["", "Point at the image."]] : numbersOf(tree, hovered);
  const text = JSON.stringify(rows);
  const list = element("numbers");
  for (const id of ["to-parent", "to-child"]) element(id).disabled = hovered < 0;
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...rows.flatMap(([term, value]) => [newElement("dt", term), newElement("dd", value)]));
}

function numbersOf(tree, node) {
  const { parents, altitudes, areas, leafCounts, nNodes } = tree;
  const share = (100 * areas[node]) / areas[nNodes - 1];
  return [
    ["Node", `${node}`],
    ["Parent", node === nNodes - 1 ? "none" : `${parents[node]}`],
    ["Pixels", areas[node].toLocaleString("en")],
    ["Share", `${share.toFixed(share < 1 ? 2 : 1)} %`],
    ["Altitude", altitudes[node].toFixed(4)],
    ["Joins at", node === nNodes - 1 ? "never" : altitudes[parents[node]].toFixed(4)],
    ["Leaves", `${leafCounts[node]}`],
  ];
}

function updateSelection(viewer) {
  const { session, history, tool, isAdding } = viewer;
  const pressed = { "tool-select": tool === "select", "tool-scribble": tool === "scribble", "add-mode": isAdding };
  for (const [id, isPressed] of Object.entries(pressed)) element(id).setAttribute("aria-pressed", isPressed);
  element("undo").disabled = !history.past.length;
  element("redo").disabled = !history.future.length;
  element("add-label").disabled = session.names.length === COLORS.length;
  const isEmpty = tool === "select" ? !session.selection.length : !session.strokes.length;
  for (const id of ["save-png", "save-coco", "save-geojson"]) element(id).disabled = isEmpty;
  setText("selected", tool === "select" ? selectionText(viewer) : scribbleText(viewer));
  updateLabels(viewer);
}

function selectionText({ session, tree }) {
  if (!session.selection.length) return "Nothing selected.";
  const area = session.selection.reduce((sum, { node }) => sum + tree.areas[node], 0);
  return `${session.selection.length} selected, ${area.toLocaleString("en")} px.`;
}

function scribbleText({ session, label }) {
  if (!session.strokes.length) return "Draw with two labels or more.";
  return `Scribbles: ${session.strokes.length}. The PNG mask is that of ${session.names[label - 1]}.`;
}

function updateLabels(viewer) {
  const { names } = viewer.session;
  const box = element("labels");
  const text = JSON.stringify(names);
  if (box.dataset.text !== text) {
    box.dataset.text = text;
    box.replaceChildren(...names.map((name, i) => labelRow(viewer, name, i + 1)));
  }
  box.querySelectorAll("input[type=radio]").forEach((radio, i) => (radio.checked = i + 1 === viewer.label));
}

function labelRow(viewer, name, label) {
  const row = newElement("div", "");
  row.className = "label";
  const radio = Object.assign(newElement("input"), { type: "radio", name: "label", ariaLabel: `Use label ${label}` });
  radio.addEventListener("change", () => viewer.useLabel(label));
  const swatch = Object.assign(newElement("span"), { className: "swatch" });
  swatch.style.background = COLORS[label - 1];
  const text = Object.assign(newElement("input"), { type: "text", value: name, ariaLabel: `Name of label ${label}` });
  text.addEventListener("change", () => viewer.nameLabel(label, text.value));
  row.append(radio, swatch, text);
  return row;
}

function newElement(tag, text = "") {
  return Object.assign(document.createElement(tag), { textContent: text });
}
