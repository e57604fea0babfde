// A process behind a gateway with the daemon's port mapper and a UDP socket on the port that is mapped, driven by lines of JSON on its
// standard input: `{id, method, args}` is answered by `{id, value}`, and whenever the mapper says that something changed, by
// `{state}`. Runs the compiled sources.

import { randomFillSync } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';
import { RtnetlinkHostNetwork } from '../../../dist/daemon/os/host-network.js';
import { HostPortMapper } from '../../../dist/daemon/portmap/host-port-mapper.js';
import { loadAddon } from '../../../dist/dataplane/native/addon.js';

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const loaded = loadAddon();
if (!loaded.ok) throw new Error(loaded.message);
const opened = await RtnetlinkHostNetwork.open(loaded.addon);
if (!opened.ok) throw new Error(`${opened.failure.step}: ${opened.failure.errno}`);
const { network } = opened;

/** Time that the test has let pass beside the real one. */
let skippedMs = 0;
const mapper = new HostPortMapper({
  ifname: () => 'none',
  network,
  now: () => performance.now() + skippedMs,
  random: (out) => randomFillSync(out),
  log: { error: (what, fields) => say({ error: what, fields }), debug: () => {} },
});
const state = () => ({ mappings: mapper.mappings, status: mapper.status(), now: performance.now() + skippedMs });
mapper.onChange(() => say({ state: state() }));

let port = Number(process.argv[2] ?? 0);
const received = [];
for (const [type, address] of [
  ['udp4', '0.0.0.0'],
  ['udp6', '::'],
]) {
  const socket = createSocket({ type, ipv6Only: type === 'udp6' });
  socket.on('message', (bytes, from) => received.push({ text: bytes.toString(), from: from.address }));
  await new Promise((resolve) => socket.bind({ address, port }, resolve));
  port = socket.address().port;
  socket.unref();
}

const METHODS = {
  port: () => port,
  request: () => mapper.request(port),
  state,
  ignored: () => mapper.ignored,
  received: () => received.splice(0),
  /** So much time is over, and nobody has noticed. */
  skip: (ms) => {
    skippedMs += ms;
  },
  /** As if the machine had slept: the clock has moved on, and the mapper is told as the daemon tells it. */
  sleep: (ms) => {
    skippedMs += ms;
    mapper.request(port);
  },
  stop: async () => {
    const from = performance.now();
    await mapper.stop();
    return performance.now() - from;
  },
};

say({ ready: process.pid });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, args } = JSON.parse(line);
  say({ id, value: (await METHODS[method](...args)) ?? null });
}
await mapper.stop();
network.close();
