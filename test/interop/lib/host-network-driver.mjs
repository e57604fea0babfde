// A process in a namespace with the daemon's view of the network, driven by lines of JSON on its standard input: `{id, method,
// args}` is answered by `{id, value}`, and a change is told as `{change, atMs}`. Runs the compiled sources.

import { createInterface } from 'node:readline';
import { ClockWatch } from '../../../dist/daemon/os/clock-watch.js';
import { findCollisions } from '../../../dist/daemon/os/collisions.js';
import { RtnetlinkHostNetwork } from '../../../dist/daemon/os/host-network.js';
import { loadAddon } from '../../../dist/dataplane/native/addon.js';

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const loaded = loadAddon();
if (!loaded.ok) throw new Error(loaded.message);
const opened = await RtnetlinkHostNetwork.open(loaded.addon, JSON.parse(process.argv[2] ?? '{}'));
if (!opened.ok) throw new Error(`${opened.failure.step}: ${opened.failure.errno}`);
const { network } = opened;
const clock = ClockWatch.open(loaded.addon, () => {});
if (!(clock instanceof ClockWatch)) throw new Error(clock.step);
network.onChange((change) => say({ change, atMs: Date.now() }));

const METHODS = {
  resyncs: () => network.resyncs,
  /** The event loop stands still, as in a long computation. */
  stall: (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms),
  collisions: async (prefixes, own) =>
    findCollisions(prefixes, { addresses: await network.addresses(), routes: await network.routes() }, own),
  /** Lists so often, and tells how often one of `expected` was missing. */
  listAgainAndAgain: async (times, expected) => {
    let missing = 0;
    for (let i = 0; i < times; i++) {
      const there = new Set((await network.addresses()).map((one) => one.address));
      if (!expected.every((address) => there.has(address))) missing++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return missing;
  },
  timed: async (method, ...args) => {
    const from = performance.now();
    const value = await network[method](...args);
    return { ms: performance.now() - from, value };
  },
};

say({ ready: process.pid });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, args } = JSON.parse(line);
  const value = METHODS[method] === undefined ? await network[method](...args) : await METHODS[method](...args);
  say({ id, value: value ?? null });
}
// The end of standard input is the end: everything is let go of, and nothing holds the process.
network.close();
clock.close();
