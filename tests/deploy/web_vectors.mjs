// Runs the page's scripts without a browser. Reads a list of jobs as JSON from standard input, the
// scripts' folder is the argument, and writes a list of results. Bytes are base64, little-endian.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runInThisContext } from "node:vm";

for (const name of ["policy.js", "physics.js"]) {
  const path = join(process.argv[2], name);
  runInThisContext(readFileSync(path, "utf8"), path);
}
const { decode, evaluator, PolicyError } = globalThis.ternevo;
const fromBase64 = (text) => Uint8Array.from(Buffer.from(text, "base64"));
const toBase64 = ({ buffer, byteOffset, byteLength }) =>
  Buffer.from(buffer, byteOffset, byteLength).toString("base64");

const jobs = {
  // What a policy computes of observations; of a policy with memory they are one episode.
  compute({ policy, observations }) {
    const net = evaluator(decode(fromBase64(policy)));
    const { inputs, outputs, outputKind } = net.policy;
    const all = new Float32Array(fromBase64(observations).buffer), count = all.length / inputs;
    const isDiscrete = outputKind === "discrete";
    const quantised = new Int8Array(all.length), logits = new Int32Array(count * outputs);
    const actions = isDiscrete ? new Int32Array(count) : new Float32Array(count * outputs);
    net.reset();
    for (let n = 0; n < count; n++) {
      const action = net.act(all.subarray(n * inputs, (n + 1) * inputs));
      quantised.set(net.quantised, n * inputs);
      logits.set(net.sums[net.sums.length - 1], n * outputs);
      actions.set(isDiscrete ? [action] : action, n * (isDiscrete ? 1 : outputs));
    }
    return { quantised: toBase64(quantised), logits: toBase64(logits), actions: toBase64(actions) };
  },

  // Why each file is refused, or null. Any other error than a PolicyError fails the test.
  refusals({ files }) {
    return files.map((file) => refusal(fromBase64(file)));
  },

  // How many of the damaged forms of a file are accepted: each bit flipped, each length cut off.
  damage({ file }) {
    const bytes = fromBase64(file);
    const accepted = { flips: 0, cuts: 0, unchanged: refusal(bytes) === null };
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3] ^= 1 << (bit & 7);
      accepted.flips += refusal(flipped) === null;
    }
    for (let length = 0; length < bytes.length; length++) {
      accepted.cuts += refusal(bytes.slice(0, length)) === null;
    }
    return accepted;
  },

  // States, observations, rewards and ends of a task, from a state by actions.
  episode({ task: name, state, actions }) {
    const task = globalThis.ternevoTasks[name];
    return actions.map((action) => {
      const reward = task.step(state, action);
      return { state: { ...state }, observation: task.observe(state), reward, done: task.isDone(state) };
    });
  },

  // The return of a policy in a task.
  play({ policy, task: name, state, steps }) {
    const net = evaluator(decode(fromBase64(policy))), task = globalThis.ternevoTasks[name];
    let total = 0;
    for (let n = 0; n < steps && !task.isDone(state); n++) {
      total += task.step(state, net.act(task.observe(state)));
    }
    return total;
  },
};

function refusal(bytes) {
  try {
    decode(bytes);
    return null;
  } catch (error) {
    if (error instanceof PolicyError) return error.message;
    throw error;
  }
}

const list = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(list.map(({ job, ...rest }) => jobs[job](rest))));
