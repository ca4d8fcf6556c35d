// Reads .tvp policy files and computes what ternevo/deploy/integer.py computes: the same integers.
// Attaches `ternevo` to the global object; needs no browser.
globalThis.ternevo = (() => {
  "use strict";

  const MAGIC = [0x89, 0x54, 0x56, 0x50, 0x0d, 0x0a, 0x1a, 0x0a];
  const INPUT_KINDS = ["f32", "i8", "bits"];
  const OUTPUT_KINDS = ["discrete", "continuous"];
  const WEIGHT_KINDS = ["ternary", "binary", "float"];
  const ACTIVATIONS = ["none", "int8", "int4", "sign", "ternary", "tanh", "relu"];
  const HEADER_SIZE = 32, LAYER_SIZE = 12, CHECK_SIZE = 4;
  const MAX_BYTES = 2 ** 24, MAX_WIDTH = 4096, MAX_LAYERS = 16, MAX_WEIGHTS = 2 ** 24;
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
    need(bytes.length >= HEADER_SIZE + LAYER_SIZE + CHECK_SIZE, bytes.length, "cut off");
    reader.take(HEADER_SIZE, "header");
    need(bytes[8] === 1 && bytes[9] === 0, 8, `version ${bytes[8]}.${bytes[9]} instead of 1.0`);
    need(view.getUint16(10, true) === 0, 10, "unknown flags");
    need(view.getUint32(12, true) === bytes.length, 12, "cut off, or there is too much");
    const sum = crc32(bytes.subarray(0, reader.end));
    need(view.getUint32(reader.end, true) === sum, reader.end, "the check sum is wrong: damaged");
    const inputs = view.getUint16(16, true), outputs = view.getUint16(18, true);
    const layers = bytes[20], bits = bytes[22];
    need(inputs >= 1 && inputs <= MAX_WIDTH, 16, `${inputs} inputs`);
    need(outputs >= 1 && outputs <= MAX_WIDTH, 18, `${outputs} outputs`);
    need(layers >= 1 && layers <= MAX_LAYERS, 20, `${layers} layers`);
    need(bytes[21] < INPUT_KINDS.length, 21, "unknown kind of input");
    const inputKind = INPUT_KINDS[bytes[21]];
    need(bits >= 1 && bits <= (inputKind === "bits" ? 1 : 8), 22, `${bits} observation bits`);
    need(bytes[23] < OUTPUT_KINDS.length, 23, "unknown kind of output");
    need(bytes[24] <= MAX_SHIFT, 24, "output shift");
    need(bytes[25] <= MAX_SHIFT, 25, "observation shift");
    need(bytes.subarray(26, HEADER_SIZE).every((byte) => byte === 0), 26, "reserved bytes");
    return {
      inputs, outputs, inputKind, outputKind: OUTPUT_KINDS[bytes[23]], numLayers: layers,
      observationBits: bits, outputShift: bytes[24], observationShift: bytes[25],
      metadata: new Map(), vectors: null,
    };
  }

  function readLayerRecords(reader, policy) {
    const heads = [];
    let inputs = policy.inputs, weights = 0;
    for (let i = 0; i < policy.numLayers; i++) {
      const at = reader.take(LAYER_SIZE, "layer");
      const [type, activation, kind, flags] = reader.bytes.subarray(at, at + 4);
      const hasBias = flags & 1, hasOutputs = (flags & 2) === 2;
      const outputs = reader.view.getUint16(at + 4, true);
      const exponent = reader.view.getInt8(at + 6), biasExponent = reader.view.getInt8(at + 7);
      need(type === 1, at, `layer of type ${type}`);
      need(activation < ACTIVATIONS.length, at + 1, "unknown activation");
      need((activation === 0) === (i === policy.numLayers - 1), at + 1, "activation of the last");
      need(activation < ACTIVATIONS.indexOf("tanh"), at + 1, "computes with floats");
      need(kind < WEIGHT_KINDS.length, at + 2, "unknown kind of weights");
      need(kind !== WEIGHT_KINDS.indexOf("float"), at + 2, "computes with floats");
      need(flags <= 3, at + 3, "layer flags");
      need(outputs >= 1 && outputs <= MAX_WIDTH, at + 4, `${outputs} outputs`);
      need(Math.abs(exponent) <= (hasOutputs ? 0 : EXPONENT_LIMIT), at + 6, "exponent");
      need(Math.abs(biasExponent) <= (hasBias ? EXPONENT_LIMIT : 0), at + 7, "bias exponent");
      need(reader.view.getUint32(at + 8, true) === 0, at + 8, "a dense layer has no geometry");
      heads.push({
        inputs, outputs, hasBias: hasBias === 1, hasOutputs, kind: WEIGHT_KINDS[kind], exponent, biasExponent,
        activation: ACTIVATIONS[activation],
      });
      weights += outputs * (inputs + hasBias);
      inputs = outputs;
    }
    need(inputs === policy.outputs, 18, "the last layer has another number of outputs");
    need(weights <= MAX_WEIGHTS, 20, "too many weights");
    return heads;
  }

  function readPayload(reader, head) {
    const exponents = readExponents(reader, head);
    const split = head.outputs * head.inputs;
    const count = split + (head.hasBias ? head.outputs : 0);
    const values = (head.kind === "binary" ? readBits : readTrits)(reader, count);
    const bias = head.hasBias ? values.subarray(split) : null;
    return { ...head, exponents, weights: values.subarray(0, split), bias };
  }

  // Of each output, whether the file has one or many.
  function readExponents(reader, head) {
    if (!head.hasOutputs) return new Int8Array(head.outputs).fill(head.exponent);
    const start = reader.take(head.outputs, "exponents");
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
    for (const layer of policy.layers) products += count * layer.inputs * layer.outputs;
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

  // Folds exponents into integer biases, and into a shift and a threshold of each output.
  function compile(policy) {
    const isBits = policy.inputKind === "bits", observed = policy.observationBits;
    let bits = observed - 1 - policy.observationShift, unitBits = 0;
    let fullScale = Math.max(2 ** (observed - 1) - 1, 1);
    const layers = policy.layers.map((layer) => {
      const units = layer.exponents.map((e) => e + bits); // one unit is 2**units of the sums
      const biasShift = (e) => Math.min(e - layer.biasExponent, BIAS_SHIFT_LIMIT);
      const from = fullScale;
      const bias = Int32Array.from(layer.exponents, (e, i) =>
        layer.bias ? layer.bias[i] * halfToEven(from * 2 ** biasShift(e)) : 0);
      unitBits = Math.max(...units);
      [bits, fullScale] = GRIDS[layer.activation];
      // Logits get the smallest unit of all outputs: they are shifted to the left.
      const shift = units.map((u) => u - (layer.activation === "none" ? unitBits : bits));
      const threshold = Float64Array.from(units, (u) => (u >= 1 ? 2 ** (u - 1) : 0));
      return { ...layer, bias, shift, threshold, from, limit: fullScale };
    });
    const inputShift = isBits ? 0 : 8 - observed;
    return { inputShift, layers, outputExponent: unitBits + policy.outputShift };
  }

  function activate(layer, row, sum) {
    const shift = layer.shift[row], threshold = layer.threshold[row], { limit } = layer;
    if (layer.activation === "none") return sum * 2 ** -shift;
    if (layer.activation === "sign") return sum >= 0 ? 1 : -1;
    if (layer.activation === "ternary") return (sum > threshold ? 1 : 0) - (sum < -threshold ? 1 : 0);
    if (shift <= 0) return clip(sum * 2 ** -shift, -limit, limit);
    return clip((sum + 2 ** (shift - 1) - 1 + ((sum >> shift) & 1)) >> shift, -limit, limit);
  }

  // What acts. Its arrays are used anew by every call, and are there to be looked at:
  // `quantised` observations, and of each layer `inputs`, `sums` and what follows.
  function evaluator(policy) {
    const net = compile(policy), { layers } = net, last = layers.length - 1;
    const quantised = new Int8Array(policy.inputs);
    const values = [policy.inputs, ...layers.map((l) => l.outputs)].map((n) => new Int32Array(n));
    const sums = layers.map((layer) => new Int32Array(layer.outputs));
    const scale = Array.from(policy.exponent, (e) => 2 ** e);
    const action = new Float32Array(policy.outputs);

    function quantise(observation) {
      for (let i = 0; i < quantised.length; i++) {
        const x = observation[i];
        if (policy.inputKind === "bits") quantised[i] = x !== 0 ? 1 : 0;
        else if (policy.inputKind === "i8") quantised[i] = clip(x, -127, 127);
        else {
          const centred = Math.fround(Math.fround(x) - policy.mean[i]);
          const v = Math.fround(centred * scale[i]);
          quantised[i] = Number.isNaN(v) ? 0 : halfToEven(clip(v, -127, 127));
        }
      }
      return quantised;
    }

    function forward(q = quantised) {
      for (let i = 0; i < q.length; i++) values[0][i] = q[i] >> net.inputShift;
      for (let k = 0; k <= last; k++) {
        const layer = layers[k], { weights, bias, inputs, outputs } = layer;
        const from = values[k], to = values[k + 1];
        for (let row = 0, at = 0; row < outputs; row++) {
          let sum = bias[row];
          for (let i = 0; i < inputs; i++, at++) sum = (sum + Math.imul(weights[at], from[i])) | 0;
          to[row] = activate(layer, row, sum);
          sums[k][row] = k < last ? sum : to[row]; // logits have one unit
        }
      }
      return sums[last];
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

    const { outputExponent } = net;
    return { policy, layers, outputExponent, quantised, values, sums, quantise, forward, decide, act };
  }

  return { PolicyError, decode, compile, evaluator };
})();
