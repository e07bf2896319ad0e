// State of the viewer and actions of the user, independent of the controls.
//
// In   a tree, colours of its leaves, the image; calls of the methods below
// Out  frames on the canvases, an event "change" after each frame
// Not  no controls, no keys: panel.mjs and stage.mjs call these methods

import { COLORS, EMPTY_SESSION, clickNode, record, redo, startHistory, undo } from "./session.mjs";
import { Painter, colorLeaves, hexToRgb, nodeColors, rgba, strengthOf } from "./draw.mjs";
import {
  cutByAltitude, cutByCount, drawStrokes, granularityOfCount, leavesUnder, nodeNear, nodesOfLabels, paint, pathToRoot,
  spreadScribbles,
} from "./tree.mjs";

const MOST_CANVAS_PIXELS = 2.5e6; // beyond, a frame would not be drawn in time
const PICTURE_PX = 1200; // smaller images are saved enlarged, so that lines do not cover them
const OUTLINE_PX = 3; // of a selection, CSS pixels; at least: it is wider than the lines
const REST_MS = 120; // a view that has not changed for so long is drawn with smooth lines
const MASKED = rgba(128, 128, 128, 0.6); // over pixels that a mask left out: dimmed, whether dark or light

export class Viewer extends EventTarget {
  constructor(tree, painter, leafMeans, leafColors) {
    super();
    [this.tree, this.painter] = [tree, painter];
    this.colors = { mean: nodeColors(tree, leafMeans), random: leafColors, leafOf: colorLeaves(tree) };
    this.strength = strengthOf(tree);
    this.shown = { boundaries: "plain", fill: "none", opacity: 0.6, tint: 0.35, lineWidth: 1.5, lineColor: "#ffffff" };
    [this.tool, this.label, this.isAdding] = ["select", 1, false];
    [this.pixel, this.hovered, this.isClimbed, this.cursor, this.draft] = [null, -1, false, null, null];
    this.history = startHistory(EMPTY_SESSION);
    this.isDirty = {};
  }

  get session() {
    return this.history.present;
  }

  // Cutting: nRegions, altitude or level is the request.
  cutAt(how) {
    if (how.level === "superpixels") how = { ...how, nRegions: this.tree.nLeaves };
    else if (how.level) how = { ...how, altitude: this.tree.levels[how.level] };
    const { tree } = this;
    this.how = how;
    this.cut = how.altitude === undefined ? cutByCount(tree, how.nRegions) : cutByAltitude(tree, how.altitude);
    this.isClimbed = false;
    this.hoverAt(this.pixel);
    this.redraw("frame");
  }

  // The lowest altitude that gives this cut where merges have different altitudes.
  get altitude() {
    return this.how.altitude ?? this.cut.nodes.reduce((most, node) => Math.max(most, this.tree.altitudes[node]), 0);
  }

  get granularity() {
    return granularityOfCount(this.cut.nodes.length, this.tree.nLeaves);
  }

  // The label map (H * W) of the cut: what h.cut gives.
  labelMap() {
    return paint(this.cut.regionOfLeaf, this.tree.labels);
  }

  show(what) {
    Object.assign(this.shown, what);
    this.redraw("frame");
  }

  // Point at a pixel [y, x] of the image, or at nothing (null).
  hoverAt(pixel) {
    const leaf = pixel ? this.painter.leafOfPixel(...pixel) : -1;
    this.pixel = leaf < 0 ? null : pixel;
    if (leaf < 0) this.hovered = -1;
    else {
      // a node chosen by climbing stays while the pointer is inside it
      this.isClimbed &&= pathToRoot(this.tree.parents, leaf).includes(this.hovered);
      if (!this.isClimbed) this.hovered = this.cut.topOfLeaf[leaf];
    }
    this.redraw("frame");
  }

  // Climb to the parent (1) or go back towards the superpixel under the pointer (-1).
  climb(step) {
    if (!this.pixel) return;
    const leaf = this.painter.leafOfPixel(...this.pixel);
    this.hovered = nodeNear(this.tree.parents, leaf, this.hovered, step);
    this.isClimbed = this.hovered !== this.cut.topOfLeaf[leaf];
    this.redraw("frame");
  }

  select(isAdding) {
    if (this.hovered < 0) return;
    this.change(clickNode(this.tree, this.session, this.hovered, this.label, isAdding || this.isAdding));
  }

  startStroke(pixel) {
    this.draft = { label: this.label, points: [] };
    this.extendStroke(pixel);
  }

  extendStroke([y, x]) {
    const point = [Math.min(Math.max(y, 0), this.tree.height - 1), Math.min(Math.max(x, 0), this.tree.width - 1)];
    this.draft.points.push(point);
    this.redraw("labels");
  }

  endStroke(isKept = true) {
    const draft = this.draft;
    this.draft = null;
    if (isKept && draft) this.change({ ...this.session, strokes: [...this.session.strokes, draft] });
    else this.redraw("labels");
  }

  useTool(tool) {
    if (this.draft) this.endStroke();
    this.tool = tool;
    this.redraw("labels");
  }

  useLabel(label) {
    if (this.draft) this.endStroke();
    if (label <= this.session.names.length) this.label = label;
    this.redraw("labels");
  }

  addLabel() {
    const { names } = this.session;
    if (names.length === COLORS.length) return;
    this.label = names.length + 1;
    this.change({ ...this.session, names: [...names, `label ${this.label}`] });
  }

  nameLabel(label, name) {
    this.change({ ...this.session, names: this.session.names.map((old, i) => (i + 1 === label ? name : old)) });
  }

  clear() {
    if (this.draft) this.endStroke(false);
    const { selection, strokes, names } = this.session;
    if (selection.length || strokes.length) this.change({ selection: [], strokes: [], names });
  }

  // Select, under each label of a map (H * W; 0 for none), the largest regions whose superpixels mostly have it.
  load(labels) {
    const { tree } = this;
    if (labels?.length !== tree.labels.length) {
      throw new Error(`labels has ${labels?.length} values: expected ${tree.height} x ${tree.width}.`);
    }
    const selection = nodesOfLabels(tree, labels, COLORS.length);
    const most = selection.reduce((highest, { label }) => Math.max(highest, label), 0);
    const { names } = this.session;
    const added = Array.from({ length: Math.max(0, most - names.length) }, (_, i) => `label ${names.length + i + 1}`);
    this.tool = "select";
    this.change({ ...this.session, selection, names: [...names, ...added] });
  }

  change(session) {
    this.history = record(this.history, session);
    this.redraw("labels");
  }

  undo() {
    this.goTo(undo(this.history));
  }

  redo() {
    this.goTo(redo(this.history));
  }

  goTo(history) {
    const before = this.session;
    this.history = history;
    // show what changed
    if (before.strokes !== this.session.strokes) this.tool = "scribble";
    if (before.selection !== this.session.selection) this.tool = "select";
    this.label = Math.min(this.label, this.session.names.length);
    this.redraw("labels");
  }

  // Show a stored session and its cut; how is null for the first cut.
  restore(session, how) {
    this.history = startHistory(session);
    this.savedSession = null;
    if (session.strokes.length && !session.selection.length) this.tool = "scribble";
    if (how) this.cutAt(how);
    this.redraw("labels");
  }

  get strokes() {
    return this.draft ? [...this.session.strokes, this.draft] : this.session.strokes;
  }

  // The labels in use: those of clicks or of scribbles, whichever tool is in use.
  get usedLabels() {
    const entries = this.tool === "scribble" ? this.strokes : this.session.selection;
    return [...new Set(entries.map(({ label }) => label))].sort((a, b) => a - b);
  }

  // The label of each leaf (N), 0 for none. Scribbles of one label alone would spread over the whole image: until
  // there is a second one they label the superpixels that they touch.
  leafLabels() {
    const { tree } = this;
    const labels = new Int32Array(tree.nLeaves);
    if (this.tool === "scribble") {
      const drawn = drawStrokes(this.strokes, tree.width);
      if (this.usedLabels.length > 1) return spreadScribbles(tree, drawn) ?? labels;
      for (const [pixel, label] of drawn) if (tree.labels[pixel] >= 0) labels[tree.labels[pixel]] = label;
      return labels;
    }
    for (const { node, label } of this.session.selection) {
      leavesUnder(tree, [node]).forEach((isIn, leaf) => isIn && (labels[leaf] = label));
    }
    return labels;
  }

  // The labels of pixels (H * W), 0 for none.
  pixelLabels() {
    return paint(this.leafLabels(), this.tree.labels).map((label) => Math.max(label, 0));
  }

  // The mask (H * W) of 0 and 1 of a label, the first that is used unless given.
  mask(label = this.usedLabels[0]) {
    return Uint8Array.from(this.pixelLabels(), (other) => (other === label ? 1 : 0));
  }

  // The selection as masks [{label, name, mask}]: one per clicked region, or one per label of scribbles.
  masks() {
    const { names, selection } = this.session;
    const named = (label, flags) => ({ label, name: names[label - 1], mask: paint(flags, this.tree.labels) });
    if (this.tool === "select") return selection.map(({ node, label }) => named(label, leavesUnder(this.tree, [node])));
    const labels = this.leafLabels();
    const used = [...new Set(labels)].filter((label) => label > 0).sort((a, b) => a - b);
    return used.map((label) => named(label, Uint8Array.from(labels, (other) => (other === label ? 1 : 0))));
  }

  // The drawn scribbles as (H * W) labels, 0 elsewhere: what h.select(scribbles=...) takes.
  scribbleMap() {
    const map = new Int32Array(this.tree.labels.length);
    for (const [pixel, label] of drawStrokes(this.strokes, this.tree.width)) map[pixel] = label;
    return map;
  }

  // Fit the canvases to the stage of a size in CSS pixels. What is in the middle of a zoomed image stays there.
  resize(width, height) {
    if (!width || !height) return;
    const { view, painter, isFitted, ratio: before } = this;
    const middle = [painter.canvas.width / 2, painter.canvas.height / 2];
    this.ratio = Math.min(window.devicePixelRatio || 1, Math.sqrt(MOST_CANVAS_PIXELS / (width * height)));
    painter.resize(Math.round(width * this.ratio), Math.round(height * this.ratio));
    this.fit();
    if (view && !isFitted) {
      const scale = Math.max((view.scale * this.ratio) / before, this.leastScale);
      const [x, y] = [(middle[0] - view.x) / view.scale, (middle[1] - view.y) / view.scale];
      this.lookAt({ scale, x: painter.canvas.width / 2 - x * scale, y: painter.canvas.height / 2 - y * scale });
    }
    this.drawFrame(); // at once: no empty frame, and a pointer that moves before the next one finds its pixel
  }

  fit() {
    const { canvas } = this.painter;
    const { width, height } = this.tree;
    const scale = 0.97 * Math.min(canvas.width / width, canvas.height / height);
    this.leastScale = scale / 2;
    this.lookAt({ scale, x: (canvas.width - width * scale) / 2, y: (canvas.height - height * scale) / 2 });
    this.isFitted = true;
  }

  // Zoom about a point of the canvas, its middle unless given.
  zoom(factor, [x, y] = [this.painter.canvas.width / 2, this.painter.canvas.height / 2]) {
    const { view } = this;
    const scale = Math.min(Math.max(view.scale * factor, this.leastScale), 64);
    const ratio = scale / view.scale;
    this.lookAt({ scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio });
  }

  move(dx, dy) {
    this.lookAt({ ...this.view, x: this.view.x + dx, y: this.view.y + dy });
  }

  lookAt(view) {
    [this.view, this.isFitted] = [view, false];
    this.redraw("view");
  }

  // Ask for a frame: "view" samples the label map again, "rest" also smooths lines, "labels" spreads selection and
  // scribbles again.
  redraw(what) {
    if (!Object.keys(this.isDirty).length) requestAnimationFrame(() => this.drawFrame());
    this.isDirty[what] = true;
  }

  drawFrame() {
    const { tree, painter, isDirty } = this;
    this.isDirty = {};
    if (!painter.words || !this.cut) return;
    if (isDirty.view || isDirty.rest || painter.view !== this.view) this.layOut(!isDirty.rest);
    if (isDirty.labels || !this.labelled) this.labelled = this.leafLabels();
    painter.draw(this.frame(this.ratio));
    this.dispatchEvent(new Event("change"));
  }

  // Lay the view out; while it is dragged or changes from frame to frame, new lines are not smooth.
  layOut(mayMove) {
    const isDragged = this.view.scale === this.painter.view.scale;
    const isMoving = mayMove && (isDragged || performance.now() - this.laidOut < REST_MS);
    clearTimeout(this.restTimer);
    if (isMoving) this.restTimer = setTimeout(() => this.redraw("rest"), REST_MS);
    this.painter.layOut(this.view, isMoving);
    this.laidOut = performance.now();
  }

  outlineWidth(ratio) {
    return Math.max(OUTLINE_PX, this.shown.lineWidth + 1) * ratio;
  }

  // Return the argument of Painter.draw: tables, lines and outlines, for a screen of `ratio` pixels per CSS pixel.
  frame(ratio) {
    const { tree, hovered, labelled } = this;
    const flagged = (flags) => Uint8Array.from({ length: tree.nLeaves + 2 }, (_, leaf) => (flags[leaf] ? 1 : 0));
    const isPointing = this.tool === "select" && hovered >= 0;
    const pointed = isPointing ? flagged(leavesUnder(tree, [hovered])) : null;
    const width = this.outlineWidth(ratio);
    const outlined = pointed ? [{ flags: pointed, color: rgba(255, 255, 255, 1), width: width / 2 }] : [];
    for (const label of this.tool === "select" ? this.usedLabels : []) {
      const color = rgba(...hexToRgb(COLORS[label - 1]), 1);
      outlined.push({ flags: flagged(labelled.map((other) => other === label)), color, width });
    }
    const shows = this.tool === "scribble" ? this.strokes : [];
    return {
      fill: this.fillTable(pointed),
      lines: this.lineTable(),
      lineWidth: this.shown.lineWidth * ratio,
      isUndone: this.cut.isUndone,
      outlined,
      strokes: shows.map(({ label, points }) => ({ points, color: COLORS[label - 1] })),
      cursor: this.cursor,
    };
  }

  // Return the image with everything drawn over it, as a canvas of its size or a multiple of that.
  picture() {
    const { tree, painter } = this;
    const scale = Math.max(1, Math.floor(PICTURE_PX / Math.max(tree.width, tree.height)));
    const [picture, overlay] = [document.createElement("canvas"), document.createElement("canvas")];
    const own = new Painter(tree, painter.image, picture, overlay);
    own.resize(scale * tree.width, scale * tree.height);
    own.layOut({ scale, x: 0, y: 0 });
    own.draw({ ...this.frame(1), cursor: null });
    picture.getContext("2d").resetTransform();
    picture.getContext("2d").drawImage(overlay, 0, 0);
    return picture;
  }

  fillTable(hovered) {
    const { tree, cut, colors, labelled } = this;
    const { fill, opacity, tint: labelShare } = this.shown;
    const table = new Uint32Array(tree.nLeaves + 2); // the entry for outside the image stays transparent
    table[tree.nLeaves + 1] = MASKED;
    const labelColors = COLORS.map(hexToRgb);
    for (let leaf = 0; leaf < tree.nLeaves; leaf++) {
      const node = cut.topOfLeaf[leaf];
      const [source, at] = fill === "mean" ? [colors.mean, node] : [colors.random, colors.leafOf[node]];
      let color = [source[3 * at], source[3 * at + 1], source[3 * at + 2]];
      let alpha = fill === "none" ? 0 : opacity;
      const tint = (toward, share) => {
        color = alpha ? color.map((value, c) => value + share * (toward[c] - value)) : toward;
        alpha = Math.max(alpha, share);
      };
      if (labelled[leaf]) tint(labelColors[labelled[leaf] - 1], labelShare);
      if (hovered && hovered[leaf]) tint([255, 255, 255], 0.2);
      table[leaf] = rgba(...color, alpha);
    }
    return table;
  }

  lineTable() {
    const { boundaries } = this.shown;
    if (boundaries === "none") return null;
    if (boundaries === "plain") return new Uint32Array(this.tree.nNodes).fill(rgba(...hexToRgb(this.shown.lineColor), 1));
    // strong ones white, weak ones orange and faint
    return Uint32Array.from(this.strength, (s) => rgba(255, 165 + 90 * s, 255 * s ** 2, 0.15 + 0.85 * s));
  }
}
