// `npm run demo`: a mesh on one machine. A controller with its relay and five machines on a small internet, three behind home routers, one
// behind a NAT that no direct path leads through; joined with one command each. Relay first, then direct; what stays relayed, and
// why; a way that is cut and mended; the controller killed while traffic flows on; a node removed and locked out. Told step by step
// in the terminal, and a failure where it is not as told. Everything is removed at the end, also at Ctrl-C or after a failure.

import { fileURLToPath } from 'node:url';
import { NATS } from './internet.mjs';
import {
  bothWhys,
  cut,
  expectedPath,
  firstContact,
  mended,
  netchecks,
  reachPublic,
  relayedAgain,
  relayedAndWhy,
} from './mesh-paths.mjs';
import { MeshWorld } from './mesh-world.mjs';
import { DemoError, disposeAtEnd, enterUserNamespace, must, runDemo, until } from './stage.mjs';
import { SteadyPing } from './steady-ping.mjs';
import { makeTerminal } from './terminal.mjs';

const HELP = `usage: npm run demo -- [--json]

  --json   the results as JSON on standard output, and nothing else
`;
const TCP_SECONDS = 1;
/** Pings sent while the controller is killed. */
const WATCHED_PINGS = 60;
const RESUME_LIMIT_MS = 30_000;
const LOCK_OUT_LIMIT_MS = 5_000;

function parse(args) {
  const options = { json: false, help: false };
  for (const arg of args) {
    if (arg === '--json') options.json = true;
    else if (arg === '--help' || arg === '-h') options.help = true;
    else throw new DemoError(`cannot make sense of ${arg}\n\n${HELP}`);
  }
  return options;
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function build(world) {
  const internet = world.openInternet();
  const controller = world.addMachine('controller');
  internet.addPublic(controller, 2);
  const home = internet.addRouter('home', 10, '192.168.1', NATS.keepsPort);
  const cabin = internet.addRouter('cabin', 20, '192.168.2', NATS.keepsPort);
  const hotel = internet.addRouter('hotel', 30, '10.30.0', NATS.variesPort);
  const behind = (router, name, host) => {
    const machine = { ...world.addMachine(name), router };
    internet.addBehind(router, machine, host);
    return machine;
  };
  const server = { ...world.addMachine('server'), router: null };
  internet.addPublic(server, 40);
  const machines = [
    behind(home, 'desk', 11),
    behind(home, 'laptop', 12),
    behind(cabin, 'pi', 11),
    behind(hotel, 'phone', 11),
    server,
  ];
  return { controller, machines };
}

/** The answers to `warren ping`, each with its time and path, or an error for a person. */
async function pingByName(world, from, to, ...more) {
  const options = ['--json', '--socket', from.socket, ...more];
  const { code, out, error } = await world.warrenAsync(from, 'ping', to.name, ...options);
  if (code !== 0) throw new DemoError(`${from.name} cannot ping ${to.name}:\n${(error || out).trim()}`);
  const lines = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return lines.filter((line) => line.type === 'reply');
}

/** By the path that is to be expected: a direct one is waited for. */
async function pingAsExpected(world, from, to) {
  const kind = expectedPath(from, to);
  const more = kind === 'direct' ? ['--until-direct', '-i', '0.05', '-c', '200'] : ['-c', '1'];
  const replies = await pingByName(world, from, to, ...more);
  if (!replies.some(({ path }) => path.kind === kind)) {
    throw new DemoError(`${from.name} to ${to.name} is not ${kind}:\n${await bothWhys(world, from, to)}`);
  }
  return kind;
}

/** The system's own ping to the addresses that `warren ip` says, over the interface. */
function pingByAddress(world, from, to) {
  const addresses = world.warren(from, 'ip', to.name, '--socket', from.socket).trim().split('\n');
  return addresses.map((address) => {
    const text = world.inside(from, ['ping', '-n', '-c', '1', '-W', '3', address]);
    return Number(/time=([\d.]+) ms/.exec(text)?.[1]);
  });
}

async function tcp(world, from, to, address) {
  const server = world.start(to, ['iperf3', '-s', '-1', '--forceflush']);
  let heard = '';
  server.stdout.on('data', (text) => {
    heard += text;
  });
  await until('iperf3 listens', 5_000, () => /listening/.test(heard));
  const text = world.inside(from, ['iperf3', '-c', address, '-t', `${TCP_SECONDS}`, '-f', 'm']);
  return Number(/([\d.]+) Mbits\/sec\s+receiver/.exec(text)?.[1]) / 1000;
}

async function play(world, terminal) {
  const { step, line, paint } = terminal;
  const results = {};

  const { controller, machines } = await step('an internet, three routers', () => ({
    value: build(world),
    detail: 'desk and laptop at home, pi in a cabin, phone in a hotel, server in public',
  }));
  const [desk, laptop, pi, phone, server] = machines;

  const link = await step('warren controller', async () => {
    const value = await world.startController(controller, { first: true });
    return { value, detail: `with a relay and STUN inside, and a join link: ${value.slice(0, 36)}…` };
  });
  await step('warren daemon, on each machine', async () => {
    await Promise.all(machines.map((machine) => world.startDaemon(machine)));
    return { detail: 'started without a network, and idle' };
  });
  results.up = await step('warren up --join LINK, all at once', async () => {
    const times = await Promise.all(
      machines.map(async (machine) => {
        const started = performance.now();
        const options = ['--join', link, '--hostname', machine.name, '--socket', machine.socket];
        const up = await world.warrenAsync(machine, 'up', ...options);
        if (up.code !== 0) throw new DemoError(`${machine.name} could not join:\n${up.error.trim()}`);
        return performance.now() - started;
      }),
    );
    for (const machine of machines) machine.addresses = (await world.status(machine)).self.addresses;
    return {
      value: { milliseconds: times.map(Math.round) },
      detail: `${desk.addresses[0]} … ${server.addresses[0]}; each took ${milliseconds(Math.max(...times))} at most`,
    };
  });
  results.netcheck = await step('warren netcheck, on each', () => netchecks(world, machines));

  const byPath = (kind) => (kind === 'relay' ? 'over the relay' : 'directly');
  results.publicContact = await step('desk pings server', async () => {
    const value = await reachPublic(world, desk, server);
    const first = `first answer after ${milliseconds(value.firstMs)}, ${byPath(value.firstPath)}`;
    return { value, detail: `${first}; direct after ${milliseconds(value.directMs)}` };
  });
  results.firstContact = await step('desk pings pi, a NAT before each', async () => {
    const value = await firstContact(world, desk, pi);
    const { firstMs, firstPath, directMs, sent, lost } = value;
    const first = `first answer after ${milliseconds(firstMs)}, ${byPath(firstPath)}`;
    return { value, detail: `${first}; direct after ${milliseconds(directMs)}; ${lost} of ${sent} lost` };
  });
  results.pings = await step('every pair pinged by name', async () => {
    const kinds = await Promise.all(
      machines.map(async (from) => {
        const ofOne = [];
        for (const to of machines) if (from !== to) ofOne.push(await pingAsExpected(world, from, to));
        return ofOne;
      }),
    );
    const all = kinds.flat();
    const value = { pairs: all.length, direct: all.filter((kind) => kind === 'direct').length };
    const relayed = value.pairs - value.direct;
    return {
      value: { ...value, relayed },
      detail: `${value.pairs} of ${value.pairs} answered: ${value.direct} directly, ${relayed} over the relay`,
    };
  });
  results.addresses = await step('and by address, IPv4 and IPv6', () => {
    const times = machines.flatMap((from, i) => pingByAddress(world, from, machines[(i + 2) % machines.length]));
    return {
      value: { medianMs: median(times) },
      detail: `${times.length} of ${times.length}, median ${milliseconds(median(times))}`,
    };
  });
  results.tcp = await step(`${TCP_SECONDS} s of TCP each`, async () => {
    const direct = await tcp(world, desk, pi, pi.addresses[0]);
    const relayed = await tcp(world, desk, phone, phone.addresses[0]);
    return {
      value: { directGigabitsPerSecond: direct, relayedGigabitsPerSecond: relayed },
      detail: `desk to pi, directly: ${direct.toFixed(2)} Gbit/s; desk to phone, over the relay: ${relayed.toFixed(2)}, which its --rate allows`,
    };
  });
  let mend;
  results.cut = await step('the way home–cabin is cut', async () => {
    const done = await cut(world, desk, pi);
    mend = done.mend;
    const { sent, lost, gapMs } = done.value;
    return {
      value: done.value,
      detail: `desk and pi go on over the relay; nothing came for ${milliseconds(gapMs)}, ${lost} of ${sent} pings lost`,
    };
  });
  results.mended = await step('and mended', async () => {
    const value = await mended(world, desk, pi, mend);
    return { value, detail: `direct again after ${milliseconds(value.directMs)}; ${value.lost} of ${value.sent} lost` };
  });

  results.why = await step('warren why phone, on desk', async () => {
    const { path, causes } = await relayedAndWhy(world, desk, phone);
    return { value: causes, detail: `by ${path.kind} at ${path.endpoint}; what keeps it there: ${causes.join(', ')}` };
  });
  line();
  for (const row of world.warren(desk, 'why', 'phone', '--socket', desk.socket).trimEnd().split('\n')) {
    line(paint('dim', `      ${row}`.trimEnd()));
  }
  line();

  results.controllerKilled = await step('controller and relay killed (-9)', async () => {
    const steady = new SteadyPing(world, desk, pi.addresses[0]);
    await until('the first of them', 5_000, () => steady.answers.length > 0);
    world.killAll(controller);
    await until('the pings', 15_000, () => steady.answers.length >= WATCHED_PINGS);
    const { sent, lost } = await steady.stop();
    if (lost > 0) throw new DemoError(`${lost} of ${sent} pings were lost`);
    return { value: { sent, lost }, detail: `${sent - lost} of ${sent} pings from desk to pi went on through it` };
  });
  results.withoutController = await step('a new session without it', async () => {
    world.warren(desk, 'peers', 'flush', 'pi', '--socket', desk.socket);
    const [{ ms }] = await pingByName(world, desk, pi, '-c', '1');
    return { value: { milliseconds: ms }, detail: `flushed and pinged again: desk to pi in ${milliseconds(ms)}` };
  });
  results.back = await step('the controller comes back', async () => {
    const started = performance.now();
    await world.startController(controller, { first: false });
    await until('the nodes are back', RESUME_LIMIT_MS, async () => {
      const statuses = await Promise.all(machines.map((machine) => world.status(machine)));
      return statuses.every(({ controller: { state } }) => state === 'connected');
    });
    await relayedAgain(world, desk, phone, RESUME_LIMIT_MS);
    const value = { milliseconds: performance.now() - started };
    return { value, detail: 'all five resumed by themselves, and the relay carries again' };
  });

  results.removed = await step('warren nodes remove pi', async () => {
    world.warren(controller, 'nodes', 'remove', 'pi', '--data', controller.state);
    const removedAt = performance.now();
    const others = machines.filter((machine) => machine !== pi);
    await until('pi is gone from the others', LOCK_OUT_LIMIT_MS, async () => {
      const paths = await Promise.all(others.map((machine) => world.status(machine)));
      return paths.every(({ peers }) => peers.every((peer) => peer.name !== 'pi'));
    });
    const value = { milliseconds: performance.now() - removedAt };
    const { code } = await world.warrenAsync(pi, 'ping', 'desk', '-c', '1', '-w', '1', '--socket', pi.socket);
    if (code === 0) throw new DemoError('pi was removed and still reaches desk');
    const { problem } = await world.status(pi);
    return {
      value,
      detail: `out everywhere in ${milliseconds(value.milliseconds)}; pi says: ${problem?.code ?? 'nothing'}`,
    };
  });

  line();
  for (const row of await overview(world, [desk, laptop, phone, server])) line(`  ${row}`);
  return results;
}

/** Who reaches whom, as `warren status` says it. */
async function overview(world, machines) {
  const rows = [];
  for (const machine of machines) {
    const { self, peers } = await world.status(machine);
    rows.push(`${machine.name.padEnd(8)} ${self.addresses.join('  ')}`);
    for (const peer of peers) {
      const { path } = peer;
      const relay = path?.relay == null ? '' : ` ${path.relay}`;
      const told = path === null ? '' : ` ${path.kind}${relay} ${path.endpoint}`;
      rows.push(`  ├─ ${peer.name.padEnd(8)} ${peer.state.padEnd(11)}${told}`);
    }
  }
  return rows;
}

async function main() {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  if (process.getuid() !== 0) enterUserNamespace(fileURLToPath(import.meta.url));
  const terminal = makeTerminal(process.stdout, { quiet: options.json });
  must(['ip', '-V']);
  must(['nft', '-v']);
  const world = new MeshWorld();
  disposeAtEnd(world);
  const started = performance.now();
  terminal.line();
  terminal.line(`  ${terminal.paint('bold', 'Warren')}: one controller, five machines, three NATs, one command each`);
  terminal.line();
  try {
    const results = await play(world, terminal);
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
