// Mouse, touch and keys on the image.
//
// In   a Viewer, its overlay canvas
// Out  calls of the Viewer's methods
// Not  no controls beside the image (panel.mjs), no drawing

const CLICK_PX = 4; // a pointer that moved no further was a click
const NEAR_PX = 4; // steps of the keyboard's cursor on the screen
const FAR_PX = 40;

export function bindStage(viewer, canvas, actions) {
  bindPointers(viewer, canvas);
  bindWheel(viewer, canvas);
  document.addEventListener("keydown", (event) => {
    if (handleKey(viewer, canvas, actions, event)) event.preventDefault();
  });
  new ResizeObserver(() => viewer.resize(canvas.clientWidth, canvas.clientHeight)).observe(canvas);
}

function bindPointers(viewer, canvas) {
  const pointers = new Map();
  let gesture = null; // what the pressed pointers do: "press" (click or drag), "draw", "pinch"
  const place = (event) => [event.offsetX * viewer.ratio, event.offsetY * viewer.ratio];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ focusVisible: false });
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that is gone already cannot be captured: its events still arrive
    }
    pointers.set(event.pointerId, place(event));
    viewer.cursor = null;
    const isDrawing = viewer.tool === "scribble" && event.button === 0;
    if (pointers.size === 2) {
      if (gesture?.kind === "draw") viewer.endStroke(false); // the first of two fingers is no stroke
      gesture = { kind: "pinch" };
    } else if (isDrawing) {
      gesture = { kind: "draw" };
      viewer.startStroke(viewer.painter.toImage(...place(event)));
    } else gesture = { kind: "press", start: place(event), isClick: event.button === 0 };
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    const before = pointers.get(event.pointerId);
    if (before) {
      if (gesture?.kind === "pinch") pinch(viewer, pointers, event.pointerId, at);
      if (gesture?.kind === "press") drag(viewer, gesture, before, at);
      pointers.set(event.pointerId, at);
    }
    if (gesture?.kind === "draw") viewer.extendStroke(viewer.painter.toImage(...at));
    viewer.cursor = null;
    viewer.hoverAt(viewer.painter.toImage(...at));
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (gesture?.kind === "draw") viewer.endStroke(event.type === "pointerup");
    if (gesture?.kind === "press" && gesture.isClick && event.type === "pointerup") {
      viewer.hoverAt(viewer.painter.toImage(...place(event)));
      viewer.select(event.ctrlKey || event.metaKey);
    }
    if (!pointers.size) gesture = null;
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault()); // the right button moves the image
}

function drag(viewer, gesture, [beforeX, beforeY], [x, y]) {
  const [startX, startY] = gesture.start;
  if (Math.hypot(x - startX, y - startY) > CLICK_PX * viewer.ratio) gesture.isMoving = true;
  if (!gesture.isMoving) return;
  gesture.isClick = false;
  viewer.move(Math.floor(x) - Math.floor(beforeX), Math.floor(y) - Math.floor(beforeY)); // whole pixels are cheap
}

function pinch(viewer, pointers, id, [x, y]) {
  const [beforeX, beforeY] = pointers.get(id);
  const [otherX, otherY] = [...pointers].find(([other]) => other !== id)[1];
  const distance = Math.hypot(beforeX - otherX, beforeY - otherY);
  viewer.zoom(Math.hypot(x - otherX, y - otherY) / Math.max(distance, 1), [otherX, otherY]);
}

function bindWheel(viewer, canvas) {
  const onWheel = (event) => {
    event.preventDefault();
    const turn = event.deltaY || event.deltaX; // some systems turn a wheel with Shift sideways
    if (event.shiftKey) viewer.climb(turn < 0 ? 1 : -1);
    else viewer.zoom(Math.exp(-turn * 0.0015), [event.offsetX * viewer.ratio, event.offsetY * viewer.ratio]);
  };
  canvas.addEventListener("wheel", onWheel, { passive: false });
}

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

// Return whether the key meant something.
function handleKey(viewer, canvas, actions, event) {
  const isTyping = event.target.matches?.("input[type=text], input[type=number], select");
  if (isTyping || document.querySelector("dialog[open]")) return false;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return event.shiftKey ? viewer.redo() ?? true : viewer.undo() ?? true;
    if (key === "y") return viewer.redo() ?? true;
    if (key !== "Enter") return false;
  }
  if (event.target === canvas && handleImageKey(viewer, event, key)) return true;
  if (event.altKey || event.ctrlKey || !(key in actions)) return false;
  if (key.length === 1 && !actions.isSingleKeyAllowed()) return false;
  actions[key]();
  return true;
}

function handleImageKey(viewer, event, key) {
  if (key in ARROWS) moveCursor(viewer, ARROWS[key], event.shiftKey ? FAR_PX : NEAR_PX);
  else if (key === "Enter" && viewer.tool === "select") viewer.select(event.ctrlKey || event.metaKey);
  else if (key === " " || key === "Enter") togglePen(viewer);
  else if (key === "PageUp") viewer.climb(1);
  else if (key === "PageDown") viewer.climb(-1);
  else return false;
  return true;
}

function moveCursor(viewer, [dy, dx], stepPx) {
  const { tree, view, ratio } = viewer;
  const step = Math.max(1, Math.round((stepPx * ratio) / view.scale));
  const [y, x] = viewer.cursor ?? viewer.pixel ?? [tree.height >> 1, tree.width >> 1];
  const clamp = (value, length) => Math.min(Math.max(value, 0), length - 1);
  viewer.cursor = [clamp(y + dy * step, tree.height), clamp(x + dx * step, tree.width)];
  if (viewer.draft) viewer.extendStroke(viewer.cursor);
  viewer.hoverAt(viewer.cursor);
}

function togglePen(viewer) {
  if (viewer.tool !== "scribble") return;
  if (viewer.draft) viewer.endStroke(); // also where a mask left the pixel out
  else if (viewer.pixel) viewer.startStroke(viewer.pixel);
}
