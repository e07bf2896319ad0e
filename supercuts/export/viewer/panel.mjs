// The controls beside the image.
//
// In   a Viewer
// Out  calls of its methods; texts and states of the controls after each frame; downloads
// Not  no pointer on the image (stage.mjs)

import { hexToRgb } from "./draw.mjs";
import { cocoDocument, geoJsonDocument, labelsPng, maskPng, regionsPng } from "./files.mjs";
import { COLORS, readSession, sessionDocument } from "./session.mjs";
import { countOfGranularity } from "./tree.mjs";

const MESSAGE_MS = 8000;
const element = (id) => document.getElementById(id);
let messageTimer = null;

// Show a message over the image, for a while or for good.
export function say(text, isLasting = false) {
  clearTimeout(messageTimer);
  element("message").textContent = text;
  element("message").hidden = false;
  if (!isLasting) messageTimer = setTimeout(() => (element("message").hidden = true), MESSAGE_MS);
}

export function bindPanel(viewer, about) {
  bindCut(viewer);
  bindOverlay(viewer);
  bindSelection(viewer);
  bindFiles(viewer, about);
  bindDialog();
  element("zoom-in").addEventListener("click", () => viewer.zoom(1.5));
  element("zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.5));
  element("zoom-fit").addEventListener("click", () => viewer.fit());
  viewer.addEventListener("change", () => update(viewer));
}

// Show links {previous, next, all: address, position: text} to the pages of the other images of a folder.
export function bindLinks({ position, ...links }, store) {
  element("links").hidden = false;
  setText("position", position);
  for (const rel of ["previous", "all", "next"]) {
    const link = element(`link-${rel}`);
    if (rel in links) link.href = links[rel];
    link.addEventListener("click", store);
  }
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
    "[": press("#link-previous"), "]": press("#link-next"),
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
  const numbers = { opacity: "input", tint: "input", "line-width": "change" };
  for (const [id, type] of Object.entries(numbers)) {
    const key = id === "line-width" ? "lineWidth" : id;
    element(id).value = viewer.shown[key];
    element(id).addEventListener(type, (event) => viewer.show({ [key]: Number(event.target.value) }));
  }
  element("line-color").addEventListener("input", (event) => viewer.show({ lineColor: event.target.value }));
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

function bindFiles(viewer, about) {
  const { width, height } = viewer.tree;
  const { name } = about;
  const asBlob = (document, type = "application/json") => new Blob([JSON.stringify(document)], { type });
  const chosen = () => Number(element("mask-label").value);
  const coco = () => cocoDocument(viewer.masks(), about.fileName, width, height, element("polygons").checked);
  const palette = [[0, 0, 0], ...COLORS.map(hexToRgb)];
  const files = {
    "save-cut": ["_regions.png", () => regionsPng(viewer.labelMap(), viewer.cut.nodes.length, width, height)],
    "save-picture": ["_picture.png", () => new Promise((done) => viewer.picture().toBlob(done, "image/png"))],
    "save-labels": ["_labels.png", () => labelsPng(viewer.pixelLabels(), viewer.session.names, palette, width, height)],
    "save-png": ["_mask.png", () => maskPng(viewer.mask(chosen()), width, height)],
    "save-coco": ["_coco.json", () => asBlob(coco())],
    "save-geojson": [".geojson", () => asBlob(geoJsonDocument(viewer.masks(), width, height), "application/geo+json")],
    "save-session": ["_session.json", () => asBlob(sessionDocument(viewer, about))],
  };
  for (const [id, [suffix, make]] of Object.entries(files)) {
    element(id).addEventListener("click", async () => {
      const { session } = viewer;
      const url = URL.createObjectURL(await make());
      Object.assign(document.createElement("a"), { href: url, download: name + suffix }).click();
      if (id === "save-session") viewer.savedSession = session;
      setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it after the click
    });
  }
  element("open-session").addEventListener("click", () => element("session-file").click());
  element("session-file").addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    target.value = ""; // the same file can be opened again
    if (!file) return;
    try {
      const { session, how } = readSession(await file.text(), viewer.tree, about);
      viewer.change(session);
      viewer.savedSession = session;
      if (how) viewer.cutAt(how);
      say(`Opened ${file.name}. Undo goes back to what was here.`);
    } catch (error) {
      say(`${file.name}: ${error.message}`);
    }
  });
}

function bindDialog() {
  element("help-open").addEventListener("click", () => {
    element("help").showModal();
    element("help-title").focus(); // it opens at its top
  });
  element("more").addEventListener("click", () => {
    const isOpen = document.querySelector("aside").classList.toggle("open");
    element("more").setAttribute("aria-expanded", isOpen);
    element("more").textContent = isOpen ? "Less" : "More";
  });
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
  const { fill, boundaries, opacity, tint } = viewer.shown;
  setText("opacity-value", `${Math.round(100 * opacity)} %`);
  setText("tint-value", `${Math.round(100 * tint)} %`);
  element("opacity").disabled = fill === "none";
  element("line-width").disabled = boundaries === "none";
  element("line-color").disabled = boundaries !== "plain";
}

function updateNumbers({ tree, hovered }) {
  for (const id of ["to-parent", "to-child"]) element(id).disabled = hovered < 0;
  setRows("numbers", hovered < 0 ? [["", "Point at the image."]] : numbersOf(tree, hovered));
  setRows("details", hovered < 0 ? [] : detailsOf(tree, hovered));
}

function setRows(id, rows) {
  const text = JSON.stringify(rows);
  const list = element(id);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...rows.flatMap(([term, value]) => [newElement("dt", term), newElement("dd", value)]));
}

function numbersOf({ areas, leafCounts, nNodes }, node) {
  const share = (100 * areas[node]) / areas[nNodes - 1];
  return [
    ["Size", `${areas[node].toLocaleString("en")} pixels`],
    ["Share", `${share.toFixed(share < 1 ? 2 : 1)} % of the image`],
    ["Made of", leafCounts[node] === 1 ? "1 superpixel" : `${leafCounts[node]} superpixels`],
  ];
}

function detailsOf({ parents, altitudes, nNodes }, node) {
  const isRoot = node === nNodes - 1;
  return [
    ["Node", `${node}`],
    ["Parent", isRoot ? "none" : `${parents[node]}`],
    ["Altitude", altitudes[node].toFixed(4)],
    ["Merges at", isRoot ? "never" : altitudes[parents[node]].toFixed(4)],
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
  const savesMarks = ["save-labels", "save-png", "save-coco", "save-geojson", "mask-label"];
  for (const id of savesMarks) element(id).disabled = isEmpty;
  updateMaskLabels(viewer);
  setText("selected", tool === "select" ? selectionText(viewer) : scribbleText(viewer));
  updateLabels(viewer);
}

function selectionText({ session, tree }) {
  if (!session.selection.length) return "Nothing selected.";
  const area = session.selection.reduce((sum, { node }) => sum + tree.areas[node], 0);
  return `${session.selection.length} selected, ${area.toLocaleString("en")} px.`;
}

function scribbleText(viewer) {
  const { names } = viewer.session;
  const used = viewer.usedLabels;
  if (!used.length) return `Draw on ${names[0]}.`;
  if (used.length > 1) return `Scribbles: ${viewer.session.strokes.length}.`;
  const next = used[0] === 1 ? 2 : 1;
  return `Now draw what is not ${names[used[0] - 1]}: choose ${names[next - 1] ?? "another label"} and draw.`;
}

// The labels whose mask can be saved; the one that was chosen stays while it is used.
function updateMaskLabels(viewer) {
  const { names } = viewer.session;
  const box = element("mask-label");
  const used = viewer.usedLabels;
  const text = JSON.stringify(used.map((label) => names[label - 1]));
  if (box.dataset.text === text) return;
  const before = Number(box.value);
  box.dataset.text = text;
  box.replaceChildren(...used.map((label) => Object.assign(newElement("option", names[label - 1]), { value: label })));
  if (used.includes(before)) box.value = before;
}

// The rows stay, and a name is written where it changed: a text box that somebody types into is left alone.
function updateLabels(viewer) {
  const { names } = viewer.session;
  const box = element("labels");
  while (box.children.length > names.length) box.lastChild.remove();
  for (let label = box.children.length + 1; label <= names.length; label++) box.append(labelRow(viewer, label));
  box.querySelectorAll("input[type=text]").forEach((text, i) => {
    if (text.shownName === names[i]) return;
    text.shownName = names[i];
    text.value = names[i];
  });
  box.querySelectorAll("input[type=radio]").forEach((radio, i) => (radio.checked = i + 1 === viewer.label));
}

function labelRow(viewer, label) {
  const row = newElement("div", "");
  row.className = "label";
  const radio = Object.assign(newElement("input"), { type: "radio", name: "label", ariaLabel: `Use label ${label}` });
  radio.addEventListener("change", () => viewer.useLabel(label));
  const swatch = Object.assign(newElement("span"), { className: "swatch" });
  swatch.style.background = COLORS[label - 1];
  const text = Object.assign(newElement("input"), { type: "text", ariaLabel: `Name of label ${label}` });
  text.addEventListener("change", () => viewer.nameLabel(label, text.value));
  const choice = Object.assign(newElement("label"), { className: "choice" });
  choice.append(radio, swatch);
  row.append(choice, text);
  return row;
}

function newElement(tag, text = "") {
  return Object.assign(document.createElement(tag), { textContent: text });
}
