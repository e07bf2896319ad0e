// Decompress where the browser does not: RFC 1951 (deflate) and RFC 1950 (zlib).
//
// In   the bytes of one whole stream; "deflate" (zlib) or "deflate-raw" (as in a zip)
// Out  its content; an Error where the stream is damaged
// Not  no streaming; npz.mjs calls this only without DecompressionStream, which is faster

const LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577];
const DISTANCE_BITS = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const ORDER_OF_CODE_LENGTHS = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

export function inflateBytes(bytes, format) {
  if (format === "deflate-raw") return inflateRaw(bytes).content;
  if (bytes.length < 6 || (bytes[0] & 15) !== 8 || ((bytes[0] << 8) | bytes[1]) % 31 || bytes[1] & 32) throw damaged();
  const { content, end } = inflateRaw(bytes.subarray(2));
  const sum = bytes.subarray(2 + end, 6 + end).reduce((value, byte) => value * 256 + byte, 0);
  if (end + 6 > bytes.length || sum !== adler32(content)) throw damaged();
  return content;
}

function inflateRaw(bytes) {
  const input = { bytes, at: 0, bits: 0, held: 0 };
  const output = { bytes: new Uint8Array(4 * bytes.length + 1024), length: 0 };
  for (let isLast = 0; !isLast; ) {
    isLast = take(input, 1);
    const kind = take(input, 2);
    if (kind === 0) copyStored(input, output);
    else if (kind === 3) throw damaged();
    else copyCoded(input, output, ...(kind === 1 ? fixedCodes() : readCodes(input)));
  }
  return { content: output.bytes.slice(0, output.length), end: input.at - (input.held >> 3) };
}

const damaged = () => new Error("The compressed data are damaged.");

function fill(input, n) {
  while (input.held < n) {
    // past the end come zeros: the last code may be shorter than what is looked at
    input.bits |= (input.bytes[input.at++] ?? 0) << input.held;
    input.held += 8;
    if (input.at > input.bytes.length + 4) throw damaged();
  }
}

function take(input, n) {
  fill(input, n);
  const value = input.bits & ((1 << n) - 1);
  input.bits >>>= n;
  input.held -= n;
  return value;
}

function reserve(output, n) {
  if (output.length + n <= output.bytes.length) return;
  const grown = new Uint8Array(2 * (output.length + n));
  grown.set(output.bytes.subarray(0, output.length));
  output.bytes = grown;
}

function copyStored(input, output) {
  input.at -= input.held >> 3; // whole bytes that were read ahead go back, the rest of the current one is padding
  input.bits = input.held = 0;
  const [length, inverse] = [take(input, 16), take(input, 16)];
  if ((length ^ inverse) !== 0xffff || input.at + length > input.bytes.length) throw damaged();
  reserve(output, length);
  output.bytes.set(input.bytes.subarray(input.at, input.at + length), output.length);
  output.length += length;
  input.at += length;
}

function copyCoded(input, output, literals, distances) {
  for (let symbol = decode(input, literals); symbol !== 256; symbol = decode(input, literals)) {
    reserve(output, 258);
    if (symbol < 256) {
      output.bytes[output.length++] = symbol;
      continue;
    }
    const length = LENGTH_BASE[symbol - 257] + take(input, LENGTH_BITS[symbol - 257]);
    const code = decode(input, distances);
    const distance = DISTANCE_BASE[code] + take(input, DISTANCE_BITS[code]);
    if (!(length && distance <= output.length)) throw damaged();
    // byte by byte: where the two overlap, what was just written is read again
    for (const end = output.length + length; output.length < end; output.length++) {
      output.bytes[output.length] = output.bytes[output.length - distance];
    }
  }
}

// A table of every value of the next `most` bits: symbol and length of the code that they begin with.
function makeTable(lengths) {
  const most = Math.max(1, ...lengths);
  const table = new Uint16Array(1 << most);
  let code = 0;
  for (let length = 1; length <= most; length++, code <<= 1) {
    lengths.forEach((own, symbol) => {
      if (own !== length) return;
      if (code >= 1 << length) throw damaged();
      let reversed = 0;
      for (let bit = 0; bit < length; bit++) reversed |= ((code >> bit) & 1) << (length - 1 - bit);
      for (let value = reversed; value < table.length; value += 1 << length) table[value] = (symbol << 4) | length;
      code++;
    });
  }
  return { table, most };
}

function decode(input, { table, most }) {
  fill(input, most);
  const entry = table[input.bits & (table.length - 1)];
  if (!entry) throw damaged(); // no code begins like this
  input.bits >>>= entry & 15;
  input.held -= entry & 15;
  return entry >> 4;
}

function fixedCodes() {
  const lengths = Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8));
  return [makeTable(lengths), makeTable(new Array(30).fill(5))];
}

function readCodes(input) {
  const [nLiterals, nDistances, nLengths] = [take(input, 5) + 257, take(input, 5) + 1, take(input, 4) + 4];
  const ofLengths = new Array(19).fill(0);
  for (const symbol of ORDER_OF_CODE_LENGTHS.slice(0, nLengths)) ofLengths[symbol] = take(input, 3);
  const table = makeTable(ofLengths);
  const lengths = [];
  while (lengths.length < nLiterals + nDistances) {
    const symbol = decode(input, table);
    if (symbol < 16) lengths.push(symbol);
    else if (symbol === 16) lengths.push(...new Array(3 + take(input, 2)).fill(lengths.at(-1) ?? 0));
    else lengths.push(...new Array(symbol === 17 ? 3 + take(input, 3) : 11 + take(input, 7)).fill(0));
  }
  return [makeTable(lengths.slice(0, nLiterals)), makeTable(lengths.slice(nLiterals, nLiterals + nDistances))];
}

function adler32(bytes) {
  let [a, b] = [1, 0];
  for (let start = 0; start < bytes.length; start += 3000) {
    const end = Math.min(start + 3000, bytes.length);
    for (let i = start; i < end; i++) b += a += bytes[i];
    [a, b] = [a % 65521, b % 65521]; // rarely: sums of 3000 bytes stay whole
  }
  return b * 65536 + a;
}
