// Decompress the arrays that are embedded in a page.

// Decompress bytes; format is "deflate" (zlib) or "deflate-raw" (zip).
export async function inflate(bytes, format) {
  const stream = new Blob([bytes]).stream().pipeThrough(decompression(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function decompression(format) {
  try {
    return new DecompressionStream(format);
  } catch {
    throw new Error(
      `This browser has no DecompressionStream("${format}"). Use Chrome 103, Firefox 113, Safari 16.4 or later.`,
    );
  }
}

// Return a base64 zlib stream as an array of the given kind.
export async function unpackArray(base64, kind) {
  const packed = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new kind((await inflate(packed, "deflate")).buffer);
}
