// `npm run demo:tunnel`: two hosts in network namespaces talk through our tunnel. Keys, interfaces, the handshake, a ping and three
// seconds of TCP, told step by step, then a picture of what happened; everything is removed at the end, also at Ctrl-C or
// after a failure. Node's own modules only. Without root it starts itself anew inside `unshare -Urnm` where that is allowed.

import { fileURLToPath } from 'node:url';
import { DemoError, disposeAtEnd, enterUserNamespace, must, runDemo, until } from './stage.mjs';
import { formatBytes, formatCount, makeTerminal, topology } from './terminal.mjs';
import { World } from './tunnel-world.mjs';

const HELP = `usage: npm run demo:tunnel -- [--json] [--peer warren|wireguard-go]

  --json         the results as JSON on standard output, and nothing else
  --peer NAME    what runs on the second host (default warren; wireguard-go shows that they understand each other)
`;
const PEERS = ['warren', 'wireguard-go'];
const TCP_SECONDS = 3;
const PINGS = 10;

function parse(args) {
  const options = { json: false, peer: 'warren', help: false };
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--json') options.json = true;
    else if (args[i] === '--help' || args[i] === '-h') options.help = true;
    else if (args[i] === '--peer' && PEERS.includes(args[i + 1])) options.peer = args[++i];
    else throw new DemoError(`cannot make sense of ${args[i]}\n\n${HELP}`);
  }
  return options;
}

function ping(world, from, target, count) {
  const text = world.inside(from, ['ping', '-n', '-c', `${count}`, '-i', '0.05', '-W', '3', target]);
  const times = [...text.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1])).sort((a, b) => a - b);
  return { received: times.length, medianMs: times[Math.floor(times.length / 2)] };
}

/** Three seconds of TCP; `report(fraction, bitsPerSecond)` is called on the way. */
async function tcp(world, from, to, report) {
  const server = world.start(to, ['iperf3', '-s', '-1', '-B', to.inner, '--forceflush']);
  let heard = '';
  server.stdout.on('data', (text) => {
    heard += text;
  });
  await until('iperf3 listens', 5_000, () => /listening/.test(heard));
  const client = world.start(from, [
    'iperf3',
    '-c',
    to.inner,
    '-t',
    `${TCP_SECONDS}`,
    '-i',
    '0.25',
    '-f',
    'm',
    '--forceflush',
  ]);
  let text = '';
  client.stdout.on('data', (chunk) => {
    text += chunk;
    const last = [...text.matchAll(/-\s*([\d.]+)\s+sec\s.*?([\d.]+) Mbits\/sec/g)].at(-1);
    if (last !== undefined) report(Number(last[1]) / TCP_SECONDS, Number(last[2]) * 1e6);
  });
  await until('the TCP run', (TCP_SECONDS + 10) * 1_000, () => client.exitCode !== null);
  const received = /([\d.]+) Mbits\/sec\s+receiver/.exec(text);
  if (received === null) throw new DemoError(`iperf3 gave no result:\n${text.trim()}`);
  return Number(received[1]) * 1e6;
}

const short = (key) => `${key.slice(0, 8)}..`;
const gigabits = (bits) => (bits < 1e9 ? `${(bits / 1e6).toFixed(0)} Mbit/s` : `${(bits / 1e9).toFixed(2)} Gbit/s`);

async function play(world, terminal, peer) {
  const { step, line, paint, bar } = terminal;
  const results = { engines: ['warren', peer] };

  const [a, b] = await step('two hosts and a cable', () => {
    const hosts = [world.addHost('a', 1, 'warren'), world.addHost('b', 2, peer)];
    world.wire(...hosts);
    return { value: hosts, detail: 'network namespaces, one veth pair' };
  });
  await step('a key pair for each', () => {
    for (const host of [a, b]) world.makeKeys(host);
    return { detail: `public keys ${short(a.publicKey)} and ${short(b.publicKey)}` };
  });
  await step('the tunnel engines', async () => {
    await Promise.all([world.startEngine(a), world.startEngine(b)]);
    return { detail: `${a.engine} (pid ${a.child.pid}) and ${b.engine} (pid ${b.child.pid})` };
  });
  await step('configured by the stock wg tool', () => {
    world.configure(a, b);
    world.configure(b, a);
    world.watchCable(a);
    return { detail: "each knows the other's key and endpoint; no packet yet" };
  });
  results.handshake = await step('the first packet: a handshake', () => {
    const started = performance.now();
    const first = ping(world, a, b.inner, 1);
    const value = { firstAnswerMs: first.medianMs, milliseconds: Math.round(performance.now() - started) };
    if (world.counters(a).latestHandshake === 0) throw new DemoError('an answer came, but wg knows of no handshake');
    return { value, detail: `Noise IKpsk2, one round trip; first answer after ${first.medianMs} ms` };
  });
  results.ping = await step('ten pings each, IPv4 and IPv6', () => {
    const value = { ipv4: ping(world, a, b.inner, PINGS), ipv6: ping(world, b, a.inner6, PINGS) };
    const { ipv4, ipv6 } = value;
    return {
      value,
      detail: `${ipv4.received + ipv6.received} of ${2 * PINGS} answered, median ${ipv4.medianMs} and ${ipv6.medianMs} ms`,
    };
  });

  const before = { thread: world.javascriptThread(a), cable: world.cableCounts(a), tunnel: world.counters(a) };
  results.tcp = await step('three seconds of TCP', async (progress) => {
    const value = await tcp(world, a, b, (fraction, bits) => progress(`${bar(fraction)} ${gigabits(bits)}`));
    return { value: { bitsPerSecond: value }, detail: paint('bold', gigabits(value)) };
  });
  const after = { thread: world.javascriptThread(a), cable: world.cableCounts(a), tunnel: world.counters(a) };

  results.javascript = await step('and JavaScript meanwhile', () => {
    const value = {
      milliseconds: after.thread.milliseconds - before.thread.milliseconds,
      wakeUps: after.thread.wakeUps - before.thread.wakeUps,
      bytesCarried: after.tunnel.txBytes - before.tunnel.txBytes,
      datagramsSent: after.cable.sealed - before.cable.sealed,
    };
    const carried = `${formatBytes(value.bytesCarried)} in ${formatCount(value.datagramsSent)} sends`;
    const thread = `its thread ran ${value.wakeUps} times, ${value.milliseconds.toFixed(1)} ms in all`;
    return { value, detail: `${carried} left host A; ${thread}` };
  });
  results.cable = await step('on the cable, seen from host A', () => {
    const value = world.cableCounts(a);
    if (value.other !== 0) throw new DemoError(`${value.other} packets left host A unencrypted`);
    return { value, detail: `${formatCount(value.sealed)} sealed UDP sends, ${value.other} packets of any other kind` };
  });
  results.counters = await step('what the two ends counted', async () => {
    // Of a transfer that has just ended something may still be on the way: read until two readings are the same.
    let last = '';
    const value = await until('the counters settle', 3_000, () => {
      const ends = { a: world.counters(a), b: world.counters(b) };
      const reading = JSON.stringify(ends);
      const settled = reading === last;
      last = reading;
      return settled ? ends : null;
    });
    const arrived = (100 * value.b.rxBytes) / value.a.txBytes;
    const detail = `A sent ${formatBytes(value.a.txBytes)}, B received ${formatBytes(value.b.rxBytes)} (${arrived.toFixed(2)} %)`;
    return { value, detail };
  });

  const describe = (host) => ({
    name: `host ${host.letter.toUpperCase()}`,
    inner: `${host.inner}  ${host.inner6}`,
    outer: `${host.outer}:${host.port}`,
    device: host.device,
    engine: host.engine,
  });
  line();
  for (const row of topology(describe(a), describe(b))) line(row);
  const speed = gigabits(results.tcp.bitsPerSecond);
  line(
    `  ${paint('bold', `A -> B ${speed}`)}, ping ${results.ping.ipv4.medianMs} ms, path: direct, one hop, UDP over IPv4`,
  );
  return results;
}

async function main() {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  if (process.getuid() !== 0) enterUserNamespace(fileURLToPath(import.meta.url));
  const terminal = makeTerminal(process.stdout, { quiet: options.json });
  const world = new World();
  disposeAtEnd(world);

  const started = performance.now();
  terminal.line();
  terminal.line(`  ${terminal.paint('bold', 'Warren')}: two hosts, one tunnel, the WireGuard protocol`);
  terminal.line();
  try {
    must(['ip', '-V']);
    const results = await play(world, terminal, options.peer);
    world.dispose();
    results.seconds = (performance.now() - started) / 1_000;
    terminal.line();
    terminal.line(`  All of it is removed again. ${results.seconds.toFixed(1)} s in all.`);
    if (options.json) process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
  } finally {
    world.dispose();
  }
}

await runDemo(main);
