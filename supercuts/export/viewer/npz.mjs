// Read a hierarchy file (.npz) in other programs; pages do without it.
//
// In   the bytes of a file that Hierarchy.save wrote
// Out  {labels, parents, altitudes, height, width, levels, nForced, nFrozen, image}, for makeTree of tree.mjs
// Not  no network, no other .npz: what is not a hierarchy is refused with an Error that gives the reason

import { inflate } from "./packed.mjs";

const NPZ_ARRAYS = { i8: BigInt64Array, i4: Int32Array, f4: Float32Array, f8: Float64Array, u1: Uint8Array };

// Read a hierarchy file given as an ArrayBuffer.
export async function readNpz(buffer) {
  const members = await unzip(new Uint8Array(buffer));
  const read = (name) => {
    if (!members.has(`${name}.npy`)) throw new Error(`The file holds no ${name}: it is no hierarchy of SuperCuts.`);
    return parseNpy(members.get(`${name}.npy`), name);
  };
  const version = Number(read("format_version").data[0]);
  if (version !== 1 && version !== 2) {
    throw new Error(`The file has format_version ${version}, this reader supports 1 and 2: it is newer.`);
  }
  // limits set by merge, split and lock; the tree in the file already includes these edits
  const [nForced, nFrozen] = version === 1 ? [0, 0] : Array.from(read("edit_limits").data, Number);
  const labels = read("labels");
  const names = read("level_names").data;
  const altitudes = read("level_altitudes").data;
  return {
    labels: labels.data,
    height: labels.shape[0],
    width: labels.shape[1],
    parents: read("parents").data,
    altitudes: read("altitudes").data,
    // a level is never below a finer one: hierarchy/cuts.py
    levels: Object.fromEntries(names.map((name, i) => [name, Math.max(...altitudes.subarray(i))])),
    nForced,
    nFrozen,
    image: members.has("image.npy") ? read("image").data : null,
  };
}

// Parse one .npy array: {shape, data}, text as an array of strings.
export function parseNpy(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== 0x934e554d) throw new Error(`${name} is no .npy array.`);
  const start = 10 + view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(10, start));
  const descr = /'descr':\s*'([<|])(\w+)'/.exec(header);
  const shape = /'shape':\s*\(([\d, ]*)\)/.exec(header);
  if (!descr || !shape || !/'fortran_order':\s*False/.test(header)) throw new Error(`${name} has header ${header}.`);
  const lengths = shape[1].split(",").filter((part) => part.trim()).map(Number);
  const data = bytes.slice(start); // a copy of its own is aligned
  if (descr[2].startsWith("U")) return { shape: lengths, data: parseText(data, Number(descr[2].slice(1)), lengths[0]) };
  if (!NPZ_ARRAYS[descr[2]]) throw new Error(`${name} has dtype ${descr[2]}, which no hierarchy holds.`);
  return { shape: lengths, data: new NPZ_ARRAYS[descr[2]](data.buffer) };
}

function parseText(data, length, count) {
  const points = new Uint32Array(data.buffer);
  const text = (i) => String.fromCodePoint(...points.subarray(i * length, (i + 1) * length));
  return Array.from({ length: count }, (_, i) => text(i).replace(/\0+$/, ""));
}

async function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("The file is not a whole .npz (zip) file.");
  const members = new Map();
  let entry = view.getUint32(end + 16, true);
  for (let i = view.getUint16(end + 10, true); i > 0; i--) {
    const nameLength = view.getUint16(entry + 28, true);
    const name = new TextDecoder().decode(bytes.subarray(entry + 46, entry + 46 + nameLength));
    const local = view.getUint32(entry + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = bytes.subarray(start, start + view.getUint32(entry + 20, true));
    members.set(name, view.getUint16(entry + 10, true) ? await inflate(packed, "deflate-raw") : packed);
    entry += 46 + nameLength + view.getUint16(entry + 30, true) + view.getUint16(entry + 32, true);
  }
  return members;
}
