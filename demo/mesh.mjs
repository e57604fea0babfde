// `npm run demo`: a mesh on one machine. A controller and four machines on two routed networks, joined with one command each,
// every pair pinged by name, the controller killed while traffic flows on, a node removed and locked out; told step by step
// in the terminal. Everything is removed at the end, also at Ctrl-C or after a failure. Node's own modules only.

import { fileURLToPath } from 'node:url';
import { MeshWorld } from './mesh-world.mjs';
import { DemoError, disposeAtEnd, enterUserNamespace, must, runDemo, until } from './stage.mjs';
import { makeTerminal } from './terminal.mjs';

const HELP = `usage: npm run demo -- [--json]

  --json   the results as JSON on standard output, and nothing else
`;
const TCP_SECONDS = 2;
/** Pings sent while the controller is killed. */
const WATCHED_PINGS = 60;
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

/** One ping through the tunnel by `warren ping`; its time, or an error for a person. */
async function pingByName(world, from, to) {
  const { code, out, error } = await world.warrenAsync(
    from,
    'ping',
    to.name,
    '-c',
    '1',
    '--json',
    '--socket',
    from.socket,
  );
  if (code !== 0) throw new DemoError(`${from.name} cannot ping ${to.name}:\n${(error || out).trim()}`);
  const lines = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  return lines.find((line) => line.type === 'reply').ms;
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
  const { step } = terminal;
  const results = {};

  const [controller, machines] = await step('two networks and a router', () => {
    const [east, west, centre] = [1, 2, 3].map((number) => world.addNetwork(number));
    const controller = world.addMachine('controller', centre, 10);
    const machines = [
      world.addMachine('desk', east, 11),
      world.addMachine('laptop', east, 12),
      world.addMachine('server', west, 11),
      world.addMachine('pi', west, 12),
    ];
    const value = [controller, machines];
    return { value, detail: 'desk and laptop on one, server and pi on the other; IPv4 and IPv6' };
  });
  const [desk, laptop, server, pi] = machines;

  const link = await step('warren controller', async () => {
    const value = await world.startController(controller, { first: true });
    return { value, detail: `a database, a key, and a join link: ${value.slice(0, 36)}…` };
  });
  await step('warren daemon, on each machine', async () => {
    await Promise.all(machines.map((machine) => world.startDaemon(machine)));
    return { detail: 'started without a network, and idle' };
  });
  results.up = await step('warren up --join LINK, four at once', async () => {
    const times = await Promise.all(
      machines.map(async (machine) => {
        const started = performance.now();
        const up = await world.warrenAsync(
          machine,
          'up',
          '--join',
          link,
          '--hostname',
          machine.name,
          '--socket',
          machine.socket,
        );
        if (up.code !== 0) throw new DemoError(`${machine.name} could not join:\n${up.error.trim()}`);
        return performance.now() - started;
      }),
    );
    for (const machine of machines) {
      machine.addresses = world.warren(machine, 'ip', '--socket', machine.socket).trim().split('\n');
    }
    const value = { milliseconds: times.map(Math.round) };
    return {
      value,
      detail: `${desk.addresses[0]} … ${pi.addresses[0]}; each took ${milliseconds(Math.max(...times))} at most`,
    };
  });

  results.pings = await step('every pair pinged by name', async () => {
    const times = [];
    for (const from of machines) {
      for (const to of machines) if (from !== to) times.push(await pingByName(world, from, to));
    }
    const value = { pairs: times.length, medianMs: median(times) };
    return {
      value,
      detail: `${times.length} of ${times.length} answered, median ${milliseconds(value.medianMs)}, handshakes included`,
    };
  });
  results.addresses = await step('and by address, IPv4 and IPv6', () => {
    const times = machines.flatMap((from, i) => pingByAddress(world, from, machines[(i + 2) % 4]));
    return {
      value: { medianMs: median(times) },
      detail: `${times.length} of ${times.length}, median ${milliseconds(median(times))}`,
    };
  });
  results.tcp = await step(`${TCP_SECONDS} s of TCP, desk to server`, async () => {
    const value = await tcp(world, desk, server, server.addresses[0]);
    return { value: { gigabitsPerSecond: value }, detail: `${value.toFixed(2)} Gbit/s over the router` };
  });

  results.controllerKilled = await step('the controller is killed (-9)', async () => {
    const watched = world.start(desk, [
      'ping',
      '-n',
      '-c',
      `${WATCHED_PINGS}`,
      '-i',
      '0.02',
      '-W',
      '2',
      server.addresses[0],
    ]);
    let text = '';
    watched.stdout.on('data', (chunk) => {
      text += chunk;
    });
    await until('the first of them', 5_000, () => /time=/.test(text));
    for (const pid of must(['ip', 'netns', 'pids', controller.netns]).trim().split('\n'))
      process.kill(Number(pid), 'SIGKILL');
    await until('the pings', 15_000, () => watched.exitCode !== null);
    const received = Number(/(\d+) received/.exec(text)?.[1]);
    if (received !== WATCHED_PINGS) throw new DemoError(`only ${received} of ${WATCHED_PINGS} pings came through`);
    return { value: { received }, detail: `${received} of ${WATCHED_PINGS} pings went on through it` };
  });
  results.withoutController = await step('a new session without it', async () => {
    world.warren(laptop, 'peers', 'flush', 'pi', '--socket', laptop.socket);
    const value = await pingByName(world, laptop, pi);
    return {
      value: { milliseconds: value },
      detail: `flushed and pinged again: laptop to pi in ${milliseconds(value)}`,
    };
  });
  results.back = await step('the controller comes back', async () => {
    const started = performance.now();
    await world.startController(controller, { first: false });
    await until('the nodes are back', 20_000, () =>
      machines.every((machine) => world.status(machine).controller.state === 'connected'),
    );
    const value = { milliseconds: performance.now() - started };
    return { value, detail: 'all four resumed by themselves' };
  });

  results.removed = await step('warren nodes remove pi', async () => {
    world.warren(controller, 'nodes', 'remove', 'pi', '--data', controller.state);
    const removedAt = performance.now();
    await until('pi is gone from the others', LOCK_OUT_LIMIT_MS, () =>
      [desk, laptop, server].every((machine) => world.status(machine).peers.every((peer) => peer.name !== 'pi')),
    );
    const value = { milliseconds: performance.now() - removedAt };
    const { code } = await world.warrenAsync(pi, 'ping', 'desk', '-c', '1', '-w', '1', '--socket', pi.socket);
    if (code === 0) throw new DemoError('pi was removed and still reaches desk');
    const { problem } = world.status(pi);
    return {
      value,
      detail: `out everywhere in ${milliseconds(value.milliseconds)}; pi says: ${problem?.code ?? 'nothing'}`,
    };
  });

  terminal.line();
  for (const row of picture(world, [desk, laptop, server])) terminal.line(`  ${row}`);
  return results;
}

/** What `warren status` of each says of the others. */
function picture(world, machines) {
  const rows = [];
  for (const machine of machines) {
    const { self, peers } = world.status(machine);
    rows.push(`${machine.name.padEnd(8)} ${self.addresses.join('  ')}`);
    for (const peer of peers) {
      const path = peer.path === null ? '' : ` ${peer.path.kind} ${peer.path.endpoint}`;
      rows.push(`  ├─ ${peer.name.padEnd(8)} ${peer.state.padEnd(11)}${path}`);
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
  const world = new MeshWorld();
  disposeAtEnd(world);
  const started = performance.now();
  terminal.line();
  terminal.line(`  ${terminal.paint('bold', 'Warren')}: one controller, four machines, one command each`);
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
