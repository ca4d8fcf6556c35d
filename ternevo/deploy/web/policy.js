// Reads .tvp policy files and computes what ternevo/deploy/integer.py computes: the same integers.
// Attaches `ternevo` to the global object; needs no browser.
globalThis.ternevo = (() => {
  "use strict";

  const MAGIC = [0x89, 0x54, 0x56, 0x50, 0x0d, 0x0a, 0x1a, 0x0a];
  const INPUT_KINDS = ["f32", "i8", "bits", "pixels"];
  const OUTPUT_KINDS = ["discrete", "continuous"];
  const WEIGHT_KINDS = ["ternary", "binary", "float"];
  const ACTIVATIONS = ["none", "int8", "int4", "sign", "ternary", "tanh", "relu"];
  const LAYER_TYPES = ["dense", "convolution", "max_pool", "elman", "gated"]; // codes count from 1
  const IMAGE_TYPES = ["convolution", "max_pool"], CELL_TYPES = ["elman", "gated"];
  const HEADER_SIZE = 32, LAYER_SIZES = [0, 12, 16], CHECK_SIZE = 4; // of a layer, by version
  const MAX_BYTES = 2 ** 24, MAX_WIDTH = 4096, MAX_WEIGHTS = 2 ** 24, MAX_EVALUATION = 2 ** 30;
  const MAX_OBSERVATION = [0, MAX_WIDTH, 65535], MAX_LAYERS = [0, 16, 48]; // by version
  const MAX_FAN_IN = 65536, MAX_VALUES = 2 ** 18, MAX_WINDOW = 16;
  const MAX_METADATA = 65536, MAX_VECTORS = 65535, MAX_PRODUCTS = 2 ** 28;
  const MAX_BOUND = Math.fround(1e30), MAX_SHIFT = 8;
  const EXPONENT_LIMIT = 24, EXPONENT_SPREAD = 8, INPUT_EXPONENT_LIMIT = 120;

  class PolicyError extends Error {}

  function need(condition, offset, reason) {
    if (!condition) throw new PolicyError(`byte ${offset}: ${reason}`);
  }

  // ---------------------------------------------------------------------------------- reading

  class Reader {
    constructor(bytes) {
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.at = 0;
      this.end = bytes.length - CHECK_SIZE;
      this.parts = []; // what is where, to show it
    }
    take(size, what) {
      need(size <= this.end - this.at, this.at, `${what}: the file is cut off`);
      this.at += size;
      return this.at - size;
    }
    part(name, read) {
      const start = this.at;
      const result = read();
      if (this.at > start) this.parts.push({ name, start, stop: this.at });
      return result;
    }
    floats(count, what) {
      const start = this.take(4 * count, what);
      const values = Float32Array.from({ length: count }, (_, i) =>
        this.view.getFloat32(start + 4 * i, true));
      need(values.every(Number.isFinite), start, `${what}: not finite`);
      return values;
    }
  }

  function crc32(bytes) {
    let crc = ~0;
    for (const byte of bytes) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc >>> 0;
  }

  // Every rule of ternevo/deploy/tvp.py; policies with floats are refused as well.
  function decode(bytes) {
    const reader = new Reader(bytes);
    const policy = reader.part("header", () => readHeader(reader));
    const heads = reader.part("layers", () => readLayerRecords(reader, policy));
    const inputs = policy.inputKind === "f32" ? policy.inputs : 0;
    const outputs = policy.outputKind === "continuous" ? policy.outputs : 0;
    reader.part("observation scale", () => {
      policy.mean = reader.floats(inputs, "mean");
      const start = reader.take(inputs, "exponents");
      policy.exponent = Int8Array.from(bytes.subarray(start, start + inputs));
      need(policy.exponent.every((e) => Math.abs(e) <= INPUT_EXPONENT_LIMIT), start, "exponent");
    });
    reader.part("action range", () => {
      policy.low = reader.floats(outputs, "low");
      policy.high = reader.floats(outputs, "high");
      need(policy.low.every((low, i) => low <= policy.high[i]), reader.at, "low above high");
      const bounds = [...policy.low, ...policy.high];
      need(bounds.every((b) => Math.abs(b) <= MAX_BOUND), reader.at, "a bound above 1e30");
    });
    policy.layers = reader.part("weights", () => heads.map((head) => readPayload(reader, head)));
    reader.part("extras", () => readChunks(reader, policy));
    reader.parts.push({ name: "check sum", start: reader.end, stop: bytes.length });
    policy.parts = reader.parts;
    return policy;
  }

  function readHeader(reader) {
    const { bytes, view } = reader;
    need(bytes.length <= MAX_BYTES, 0, "too large");
    need(MAGIC.every((byte, i) => bytes[i] === byte), 0, "not a .tvp policy file");
    need(bytes.length >= HEADER_SIZE + LAYER_SIZES[1] + CHECK_SIZE, bytes.length, "cut off");
    reader.take(HEADER_SIZE, "header");
    const version = bytes[8], isKnown = (version === 1 || version === 2) && bytes[9] === 0;
    need(isKnown, 8, `version ${version}.${bytes[9]} instead of 1.0 or 2.0`);
    need(view.getUint16(10, true) === 0, 10, "unknown flags");
    need(view.getUint32(12, true) === bytes.length, 12, "cut off, or there is too much");
    const sum = crc32(bytes.subarray(0, reader.end));
    need(view.getUint32(reader.end, true) === sum, reader.end, "the check sum is wrong: damaged");
    const inputs = view.getUint16(16, true), outputs = view.getUint16(18, true);
    const layers = bytes[20], bits = bytes[22];
    need(inputs >= 1 && inputs <= MAX_OBSERVATION[version], 16, `${inputs} inputs`);
    need(outputs >= 1 && outputs <= MAX_WIDTH, 18, `${outputs} outputs`);
    need(layers >= 1 && layers <= MAX_LAYERS[version], 20, `${layers} layers`);
    const kinds = INPUT_KINDS.length - (version === 1); // pixels came with version 2
    need(bytes[21] < kinds, 21, "unknown kind of input");
    const inputKind = INPUT_KINDS[bytes[21]];
    need(bits >= 1 && bits <= (inputKind === "bits" ? 1 : 8), 22, `${bits} observation bits`);
    need(bytes[23] < OUTPUT_KINDS.length, 23, "unknown kind of output");
    need(bytes[24] <= MAX_SHIFT, 24, "output shift");
    need(bytes[25] <= MAX_SHIFT, 25, "observation shift");
    const image = [26, 28, 30].map((at) => view.getUint16(at, true)), hasImage = image.some(Boolean);
    need(version === 2 || !hasImage, 26, "reserved bytes");
    need(!hasImage || product(image) === inputs, 26, "the image has another number of inputs");
    return {
      version, inputs, outputs, inputKind, outputKind: OUTPUT_KINDS[bytes[23]], numLayers: layers,
      observationBits: bits, outputShift: bytes[24], observationShift: bytes[25],
      image: hasImage ? image : null, metadata: new Map(), vectors: null,
    };
  }

  const product = (sizes) => sizes.reduce((all, size) => all * size, 1);

  function readLayerRecords(reader, policy) {
    const heads = [];
    while (heads.length < policy.numLayers) heads.push(readLayerRecord(reader, policy, heads));
    const total = (name) => heads.reduce((sum, head) => sum + head[name], 0);
    need(heads[heads.length - 1].outputs === policy.outputs, 18, "the last layer has other outputs");
    need(total("count") <= MAX_WEIGHTS, 20, "too many weights");
    if (policy.version === 1) return heads;
    need(total("products") <= MAX_EVALUATION, 20, "an evaluation takes too many products");
    const seesImage = IMAGE_TYPES.includes(heads[0].type);
    need(seesImage || !policy.image, 26, "the first layer does not take an image");
    const isFirst = policy.inputKind !== "pixels" && policy.inputs <= MAX_OBSERVATION[1]
      && policy.numLayers <= MAX_LAYERS[1] && heads.every((h) => h.type === "dense" && !h.skip);
    need(!isFirst, 8, "version 2.0 of a policy that version 1.0 can hold");
    return heads;
  }

  // Reads a layer; `heads` are those before it.
  function readLayerRecord(reader, policy, heads) {
    const at = reader.take(LAYER_SIZES[policy.version], "layer"), { bytes } = reader;
    const isLast = heads.length === policy.numLayers - 1, before = heads[heads.length - 1];
    need(bytes[at] >= 1 && bytes[at] <= (policy.version === 1 ? 1 : LAYER_TYPES.length), at,
      `unknown type of layer ${bytes[at]}`);
    const head = { type: LAYER_TYPES[bytes[at] - 1], ...readLayerStart(reader, at, isLast) };
    need(head.type === "dense" || !isLast, at, "the last layer must be dense");
    head.shape = before ? before.after : policy.image || [policy.inputs];
    head.grid = before ? before.gridAfter : ""; // that its inputs are on; "" of the observation
    const window = Array.from(bytes.subarray(at + 8, at + 12));
    head.skip = policy.version === 1 ? 0 : bytes[at + 12];
    head.window = null;
    if (IMAGE_TYPES.includes(head.type)) head.window = readWindow(window, at, head);
    else need(!window.some(Boolean), at + 8, "a dense layer or a cell has no geometry");
    addSizes(head);
    if (policy.version === 1) return head;
    need(head.fanIn <= MAX_FAN_IN, at, `${head.fanIn} inputs of an output`);
    need(product(head.after) <= MAX_VALUES, at + 4, `a layer of ${product(head.after)} values`);
    if (head.skip) checkSkip(at + 12, head, heads, isLast);
    need(bytes.subarray(at + 13, at + 16).every((byte) => byte === 0), at + 13, "reserved bytes");
    return head;
  }

  // The part of a record that both versions have; a pool has 0 there but for its channels.
  function readLayerStart(reader, at, isLast) {
    const [type, activation, kind, flags] = reader.bytes.subarray(at, at + 4);
    const isPool = LAYER_TYPES[type - 1] === "max_pool";
    const hasBias = (flags & 1) === 1, hasOutputs = (flags & 2) === 2;
    const outputs = reader.view.getUint16(at + 4, true);
    const exponent = reader.view.getInt8(at + 6), biasExponent = reader.view.getInt8(at + 7);
    need(activation < ACTIVATIONS.length, at + 1, "unknown activation");
    need((activation === 0) === (isLast || isPool), at + 1, "only pools and the last have none");
    need(activation < ACTIVATIONS.indexOf("tanh"), at + 1, "computes with floats");
    need(kind < WEIGHT_KINDS.length, at + 2, "unknown kind of weights");
    need(!isPool || (kind === 0 && flags === 0), at + 2, "a pool has no weights");
    need(kind !== WEIGHT_KINDS.indexOf("float"), at + 2, "computes with floats");
    need(flags <= 3, at + 3, "layer flags");
    need(outputs >= 1 && outputs <= MAX_WIDTH, at + 4, `${outputs} outputs`);
    need(Math.abs(exponent) <= (hasOutputs || isPool ? 0 : EXPONENT_LIMIT), at + 6, "exponent");
    need(Math.abs(biasExponent) <= (hasBias ? EXPONENT_LIMIT : 0), at + 7, "bias exponent");
    return {
      hasBias, hasOutputs, outputs, kind: WEIGHT_KINDS[kind], exponent, biasExponent,
      activation: ACTIVATIONS[activation],
    };
  }

  function readWindow([height, width, stride, padding], at, { type, shape, grid, outputs }) {
    need(shape.length === 3, at, "a convolution or a pool takes an image");
    const sizes = [height, width, stride], isPool = type === "max_pool";
    need(sizes.every((n) => n >= 1 && n <= MAX_WINDOW), at + 8, `a window of ${sizes}`);
    need(padding < Math.min(height, width), at + 11, `padding ${padding}`);
    need(isPool || grid !== "sign" || !padding, at + 11, "signs have no 0 to pad with");
    const fits = height <= shape[0] + 2 * padding && width <= shape[1] + 2 * padding;
    need(fits, at + 8, "the window does not fit the image");
    need(!isPool || outputs === shape[2], at + 4, `a pool gives ${shape[2]} channels`);
    return { height, width, stride, padding };
  }

  // The matrix [rows, fanIn], the shape `after` a layer, and what an evaluation takes.
  function addSizes(head) {
    const { type, window, shape, outputs } = head, isPool = type === "max_pool";
    const places = (size, length) =>
      Math.floor((size + 2 * window.padding - length) / window.stride) + 1;
    head.inputs = product(shape);
    head.isCell = CELL_TYPES.includes(type);
    head.after = window
      ? [places(shape[0], window.height), places(shape[1], window.width), outputs] : [outputs];
    head.gridAfter = isPool ? head.grid : head.activation;
    head.rows = isPool ? 0 : type === "gated" ? 2 * outputs : outputs;
    const patch = window ? window.height * window.width * shape[2] : 0;
    head.fanIn = isPool ? 0 : window ? patch : head.inputs + (head.isCell ? outputs : 0);
    head.places = window ? head.after[0] * head.after[1] : 1;
    head.count = head.rows * (head.fanIn + head.hasBias);
    head.products = head.places * (isPool ? patch : head.rows * head.fanIn);
  }

  // What a skip adds must be there, on the same grid, and of the same shape.
  function checkSkip(at, head, heads, isLast) {
    const takes = ["dense", "convolution"].includes(head.type) && !isLast;
    need(takes, at, "only a convolution or a dense layer before the last has a skip");
    need(!["sign", "ternary"].includes(head.activation), at, "a skip before a sign or a trit");
    need(head.skip <= heads.length, at, `skip ${head.skip} of layer ${heads.length}`);
    const source = [...heads, head][heads.length - head.skip + 1];
    need(source.grid === head.activation, at, "a skip adds values of another grid");
    const isSame = source.shape.length === head.after.length
      && source.shape.every((size, i) => size === head.after[i]);
    need(isSame, at, "a skip adds values of another shape");
  }

  function readPayload(reader, head) {
    const exponents = readExponents(reader, head);
    const split = head.rows * head.fanIn;
    const values = (head.kind === "binary" ? readBits : readTrits)(reader, head.count);
    const bias = head.hasBias ? values.subarray(split) : null;
    return { ...head, exponents, weights: values.subarray(0, split), bias };
  }

  // Of each row, whether the file has one or many.
  function readExponents(reader, head) {
    if (!head.hasOutputs) return new Int8Array(head.rows).fill(head.exponent);
    const start = reader.take(head.rows, "exponents");
    const exponents = Int8Array.from(reader.bytes.subarray(start, reader.at));
    need(exponents.every((e) => Math.abs(e) <= EXPONENT_LIMIT), start, "exponent of an output");
    const apart = Math.max(...exponents) - Math.min(...exponents);
    need(apart <= EXPONENT_SPREAD, start, `exponents of outputs are ${apart} apart`);
    return exponents;
  }

  // Five trits to a byte in base 3, the first in the lowest place; a digit is the weight plus 1.
  function readTrits(reader, count) {
    const size = Math.ceil(count / 5), start = reader.take(size, "weights");
    const values = new Int8Array(5 * size);
    for (let i = 0; i < size; i++) {
      let rest = reader.bytes[start + i];
      need(rest < 243, start + i, `${rest} is not five trits`);
      for (let digit = 0; digit < 5; digit++, rest = Math.floor(rest / 3)) {
        values[5 * i + digit] = (rest % 3) - 1;
      }
    }
    need(values.subarray(count).every((trit) => trit === 0), reader.at - 1, "unused trits");
    return values.subarray(0, count);
  }

  function readBits(reader, count) {
    const size = Math.ceil(count / 8), start = reader.take(size, "weights");
    const bit = (i) => (reader.bytes[start + (i >> 3)] >> (i & 7)) & 1;
    for (let i = count; i < 8 * size; i++) need(bit(i) === 0, reader.at - 1, "unused bits");
    return Int8Array.from({ length: count }, (_, i) => 2 * bit(i) - 1);
  }

  function readChunks(reader, policy) {
    const kinds = { META: readMetadata, MOMT: readSquares, MOMD: readMoments, TEST: readVectors };
    let expected = Object.keys(kinds), hasMoments = false;
    while (reader.at < reader.end) {
      const at = reader.take(8, "chunk");
      const tag = String.fromCharCode(...reader.bytes.subarray(at, at + 4));
      need(expected.includes(tag), at, "unknown chunk, or out of order, or there twice");
      expected = expected.slice(expected.indexOf(tag) + 1);
      need(!(hasMoments && tag === "MOMD"), at, "moments are there twice");
      hasMoments ||= tag === "MOMT";
      const size = reader.view.getUint32(at + 4, true);
      need(size <= reader.end - reader.at, at + 4, "the chunk is cut off");
      kinds[tag](reader, policy, size);
    }
  }

  function readMetadata(reader, policy, size) {
    need(size > 0 && size <= MAX_METADATA, reader.at - 4, `${size} bytes of metadata`);
    const stop = reader.at + size, decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const readText = () => {
      need(stop - reader.at >= 2, reader.at, "metadata are cut off");
      const length = reader.view.getUint16(reader.take(2, "metadata"), true);
      need(stop - reader.at >= length, reader.at, "metadata are cut off");
      const start = reader.take(length, "metadata");
      return reader.bytes.subarray(start, start + length);
    };
    for (let previous = new Uint8Array(); reader.at < stop; ) {
      const at = reader.at, name = readText(), value = readText();
      need(isAbove(name, previous), at, "names of metadata are empty, or do not ascend");
      try {
        policy.metadata.set(decoder.decode(name), decoder.decode(value));
      } catch {
        need(false, at, "metadata are not UTF-8");
      }
      previous = name;
    }
  }

  function isAbove(name, previous) {
    for (let i = 0; i < Math.min(name.length, previous.length); i++) {
      if (name[i] !== previous[i]) return name[i] > previous[i];
    }
    return name.length > previous.length;
  }

  const readSquares = (reader, policy, size) => readCounted(reader, policy, size, 1);
  const readMoments = (reader, policy, size) => readCounted(reader, policy, size, policy.inputs);

  // `counts` counts, then a number for each input.
  function readCounted(reader, policy, size, counts) {
    need(policy.inputKind === "f32", reader.at - 8, "moments of inputs that are not floats");
    need(size === 4 * (counts + policy.inputs), reader.at - 4, "size of moments");
    const values = reader.floats(counts + policy.inputs, "moment");
    need(values.every((v) => v >= 0 && !Object.is(v, -0)), reader.at, "a moment is negative");
  }

  function readVectors(reader, policy, size) {
    need(size >= 4, reader.at - 4, "test vectors are cut off");
    const start = reader.take(4, "test vectors"), count = reader.view.getUint32(start, true);
    need(count >= 1 && count <= MAX_VECTORS, start, `${count} test vectors`);
    let products = 0;
    for (const layer of policy.layers) products += count * layer.products;
    need(products <= MAX_PRODUCTS, start, "test vectors take too many products");
    need(size === 4 + count * (policy.inputs + 4 * policy.outputs), start - 4, "size of vectors");
    const raw = reader.take(count * policy.inputs, "inputs");
    const inputs = Int8Array.from(reader.bytes.subarray(raw, reader.at));
    const [low, high] = policy.inputKind === "bits" ? [0, 1] : [-127, 127];
    need(inputs.every((q) => q >= low && q <= high), raw, "an input is out of range");
    const at = reader.take(4 * count * policy.outputs, "logits");
    const net = evaluator(policy);
    for (let i = 0; i < count; i++) {
      const found = net.forward(inputs.subarray(i * policy.inputs, (i + 1) * policy.inputs));
      const wrong = found.some((logit, j) =>
        logit !== reader.view.getInt32(at + 4 * (i * policy.outputs + j), true));
      need(!wrong, at, "the policy does not give the logits of its test");
    }
    policy.vectors = count;
  }

  // ------------------------------------------------------------------------------- arithmetic

  // Of each activation: the bits of a unit, and the largest number, which is the full scale too.
  const GRIDS = { int8: [7, 127], int4: [3, 7], sign: [0, 1], ternary: [0, 1], none: [0, 0] };
  const BIAS_SHIFT_LIMIT = 8;

  // Adding 1.5 * 2**52 leaves no bits for a fraction, and the processor rounds half to even.
  // Math.round rounds half up, which is another number in every second tie.
  const MAGIC_ROUND = 1.5 * 2 ** 52;
  const halfToEven = (value) => value + MAGIC_ROUND - MAGIC_ROUND;
  const clip = (value, low, high) => Math.min(Math.max(value, low), high);

  // Folds exponents into integer biases, and into a shift and a threshold of each row.
  function compile(policy) {
    const isBits = policy.inputKind === "bits", observed = policy.observationBits;
    let bits = observed - 1 - policy.observationShift, unitBits = 0;
    let fullScale = Math.max(2 ** (observed - 1) - 1, 1);
    const layers = policy.layers.map((layer) => {
      const from = fullScale;
      if (layer.type === "max_pool") return { ...layer, from, limit: from };
      const units = layer.exponents.map((e) => e + bits); // one unit is 2**units of the sums
      const biasShift = (e) => Math.min(e - layer.biasExponent, BIAS_SHIFT_LIMIT);
      const bias = Int32Array.from(layer.exponents, (e, i) =>
        layer.bias ? layer.bias[i] * halfToEven(from * 2 ** biasShift(e)) : 0);
      unitBits = Math.max(...units);
      [bits, fullScale] = GRIDS[layer.activation];
      // Logits get the smallest unit of all outputs: they are shifted to the left. The gates of a
      // gated cell come after its candidates, and open by half a unit for each unit.
      const isGate = (row) => layer.type === "gated" && row >= layer.outputs;
      const shift = units.map((u, row) =>
        u + isGate(row) - (layer.activation === "none" ? unitBits : bits));
      const threshold = Float64Array.from(units, (u) => (u >= 1 ? 2 ** (u - 1) : 0));
      return { ...layer, bias, shift, threshold, from, unit: 2 ** bits, limit: fullScale };
    });
    const inputShift = isBits ? 0 : 8 - observed;
    return { inputShift, layers, outputExponent: unitBits + policy.outputShift };
  }

  // sum * 2**-shift, rounded half to even.
  const onGrid = (sum, shift) => (shift <= 0 ? sum * 2 ** -shift
    : (sum + 2 ** (shift - 1) - 1 + ((sum >> shift) & 1)) >> shift);

  function activate(layer, row, sum, added = 0) {
    const shift = layer.shift[row], threshold = layer.threshold[row], { limit } = layer;
    if (layer.activation === "none") return sum * 2 ** -shift;
    if (layer.activation === "sign") return sum >= 0 ? 1 : -1;
    if (layer.activation === "ternary") return (sum > threshold ? 1 : 0) - (sum < -threshold ? 1 : 0);
    return clip(onGrid(sum, shift) + added, -limit, limit);
  }

  // A number of a gated memory: a gate of 0 to `unit` parts of a unit moves it to the candidate.
  function gated(layer, row, sums, memory) {
    const change = activate(layer, row, sums[row]) - memory;
    return memory + onGrid(opening(layer, row, sums) * change, Math.log2(layer.unit));
  }

  function opening(layer, row, sums) {
    const gate = row + layer.outputs;
    if (layer.unit === 1) return sums[gate] > 0 ? 1 : 0;
    return clip(onGrid(sums[gate], layer.shift[gate]) + layer.unit / 2, 0, layer.unit);
  }

  // Places of an image [height, width, channels] that a window sees from the place (row, column)
  // of its results: `visit(at, n)` gets where the channels of its n-th place start, -1 for padding.
  function look({ window, shape }, row, column, visit) {
    const top = row * window.stride - window.padding, left = column * window.stride - window.padding;
    for (let ky = 0, n = 0; ky < window.height; ky++) {
      for (let kx = 0; kx < window.width; kx++, n++) {
        const y = top + ky, x = left + kx;
        const isIn = y >= 0 && y < shape[0] && x >= 0 && x < shape[1];
        visit(isIn ? (y * shape[1] + x) * shape[2] : -1, n);
      }
    }
  }

  // What acts. Its arrays are used anew by every call, and are there to be looked at: `quantised`
  // observations, `values` between layers, and the `sums` of each. What a cell gives is also its
  // memory: it stays until the next call, or until `reset`.
  function evaluator(policy) {
    const net = compile(policy), { layers } = net, last = layers.length - 1;
    const quantised = new Int8Array(policy.inputs);
    const sizes = [policy.inputs, ...layers.map((layer) => product(layer.after))];
    const values = sizes.map((size) => new Int32Array(size));
    const sums = layers.map((layer) => new Int32Array(layer.places * layer.rows));
    const taken = layers.map((layer, k) =>
      layer.window || layer.isCell ? new Int32Array(layer.fanIn) : values[k]);
    // Kinds of inputs without moments have a mean of their own and exponent 0; bits are 0 or 1.
    const hasMoments = policy.inputKind === "f32", isBits = policy.inputKind === "bits";
    const centre = policy.inputKind === "pixels" ? 128 : 0;
    const mean = hasMoments ? policy.mean : Array(policy.inputs).fill(centre);
    const scale = hasMoments
      ? Array.from(policy.exponent, (e) => 2 ** e) : Array(policy.inputs).fill(1);
    const [low, high] = isBits ? [0, 1] : [-127, 127];
    const action = new Float32Array(policy.outputs);

    function quantise(observation) {
      for (let i = 0; i < quantised.length; i++) {
        const x = observation[i];
        const centred = Math.fround(Math.fround(x) - mean[i]);
        const v = Math.fround(centred * scale[i]);
        quantised[i] = Number.isNaN(v) ? 0 : halfToEven(clip(v, low, high));
      }
      return quantised;
    }

    // Every layer with weights is a matrix; layers differ in what they multiply it by.
    function multiply(k, place) {
      const { weights, bias, rows, fanIn } = layers[k], from = taken[k], to = sums[k];
      for (let row = 0, at = 0, put = place * rows; row < rows; row++, put++) {
        let sum = bias[row];
        for (let i = 0; i < fanIn; i++, at++) sum = (sum + Math.imul(weights[at], from[i])) | 0;
        to[put] = sum;
      }
    }

    function convolve(k) {
      const layer = layers[k], from = values[k], patch = taken[k], channels = layer.shape[2];
      const take = (at, n) => {
        for (let c = 0; c < channels; c++) patch[n * channels + c] = at < 0 ? 0 : from[at + c];
      };
      for (let place = 0, across = layer.after[1]; place < layer.places; place++) {
        look(layer, Math.floor(place / across), place % across, take);
        multiply(k, place);
      }
    }

    function pool(k) {
      const layer = layers[k], from = values[k], to = values[k + 1], channels = layer.shape[2];
      for (let place = 0, across = layer.after[1]; place < layer.places; place++) {
        const best = to.subarray(place * channels, (place + 1) * channels).fill(-(2 ** 31));
        look(layer, Math.floor(place / across), place % across, (at) => {
          for (let c = 0; at >= 0 && c < channels; c++) best[c] = Math.max(best[c], from[at + c]);
        });
      }
    }

    function run(k) {
      const layer = layers[k], { rows } = layer, to = values[k + 1];
      if (layer.type === "max_pool") return pool(k);
      if (layer.isCell) {
        taken[k].set(values[k]);
        taken[k].set(to, layer.inputs);
      }
      if (layer.window) convolve(k);
      else multiply(k, 0);
      const added = layer.skip ? values[k - layer.skip + 1] : null;
      for (let i = 0; i < to.length; i++) {
        if (layer.type === "gated") to[i] = gated(layer, i, sums[k], to[i]);
        else to[i] = activate(layer, i % rows, sums[k][i], added ? added[i] : 0);
      }
    }

    function forward(q = quantised) {
      for (let i = 0; i < q.length; i++) values[0][i] = q[i] >> net.inputShift;
      for (let k = 0; k <= last; k++) run(k);
      sums[last].set(values[last + 1]); // logits have one unit
      return sums[last];
    }

    // Before the first step memories are 0, or +1 after a sign, which has no 0.
    function reset() {
      layers.forEach((layer, k) => {
        if (layer.isCell) values[k + 1].fill(layer.activation === "sign" ? 1 : 0);
      });
    }

    // A whole number (the lowest wins a tie), or float32 in the range of each component.
    function decide(logits = sums[last]) {
      if (policy.outputKind === "discrete") {
        let best = 0;
        for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
        return best;
      }
      const f32 = Math.fround, unit = 2 ** -net.outputExponent;
      for (let i = 0; i < logits.length; i++) {
        const low = policy.low[i], high = policy.high[i];
        const half = f32(f32(high - low) / 2), centre = f32(f32(low + high) / 2);
        const moved = f32(f32(clip(logits[i] * unit, -1, 1)) * half);
        action[i] = clip(f32(centre + moved), low, high);
      }
      return action;
    }

    function act(observation) {
      quantise(observation);
      forward();
      return decide();
    }

    reset();
    const { outputExponent } = net, hasMemory = layers.some((layer) => layer.isCell);
    return {
      policy, layers, outputExponent, hasMemory, quantised, values, sums,
      quantise, forward, reset, decide, act,
      opening: (k, i) => opening(layers[k], i, sums[k]) / layers[k].unit,
    };
  }

  return { PolicyError, decode, compile, evaluator };
})();
