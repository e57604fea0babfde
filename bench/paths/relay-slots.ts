// What ten thousand members that are silent cost a relay: its memory when it knows them, when each has a session and a slot, and CPU time
// and wake-ups while nobody says anything.

import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { NodeView } from '../../src/protocol/admin-api.ts';
import { WARREN } from '../../test/interop/lib/engines.ts';
import type { Host } from '../../test/interop/lib/lab.ts';
import { cpuSeconds, rssMegabytes, voluntarySwitches } from '../../test/interop/lib/proc.ts';
import { must } from '../../test/interop/lib/shell.ts';
import { pass, until } from '../../test/interop/lib/wait.ts';
import { figure, inRounds, type SectionResult } from './figures.ts';
import { startNetwork, WARREN_PORT } from './relay-carrier.ts';
import { ADDRESSES, openRelayPlace, type RelayPlace } from './relay-place.ts';
import type { Bench } from './section.ts';
import type { SlotFleetAnswer, SlotFleetRequest } from './slot-fleet.ts';

const MEMBERS = 10_000;
const QUICK_MEMBERS = 500;
const METRICS = '127.0.0.1:9100';
const FLEET_LIMIT_MS = 900_000;
const KNOWN_LIMIT_MS = 120_000;
/** Before memory is read: garbage of what was done is collected, or is not. */
const REST_MS = 5_000;
const IDLE_SECONDS = 10;

interface Round {
  readonly members: number;
  readonly slots: number;
  readonly emptyMegabytes: number;
  readonly knownMegabytes: number;
  readonly slotsMegabytes: number;
  readonly slotSeconds: number;
  readonly idleCpuPercent: number;
  readonly wakeUpsPerSecond: number;
  readonly failed: readonly string[];
}

class SlotFleet {
  readonly #child: ChildProcess;

  constructor(netns: string) {
    this.#child = fork(join(import.meta.dirname, 'slot-fleet.js'), {
      execPath: '/usr/bin/env',
      execArgv: ['ip', 'netns', 'exec', netns, process.execPath],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
  }

  ask(request: SlotFleetRequest): Promise<SlotFleetAnswer> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(
        () => reject(new Error(`the fleet did not end with "${request.kind}" in time`)),
        FLEET_LIMIT_MS,
      );
      const ended = (code: number | null): void => {
        clearTimeout(limit);
        reject(new Error(`the fleet ended with ${code}`));
      };
      this.#child.once('exit', ended);
      this.#child.once('message', (answer: SlotFleetAnswer) => {
        clearTimeout(limit);
        this.#child.off('exit', ended);
        resolve(answer);
      });
      this.#child.send(request);
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

async function metric(host: Host, name: string): Promise<number> {
  const script = 'fetch(process.argv[1]).then((answer) => answer.text()).then((text) => process.stdout.write(text))';
  const text = await host.must([process.execPath, '-e', script, `http://${METRICS}/metrics`]);
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
}

async function relayKeyHex(place: RelayPlace): Promise<string> {
  const command = [
    process.execPath,
    WARREN,
    'nodes',
    'list',
    '--relays',
    '--json',
    '--data',
    place.lab.path('controller'),
  ];
  const [relay] = JSON.parse(await must(command, { timeoutMs: 60_000 })) as readonly NodeView[];
  if (relay === undefined) throw new Error('the controller knows no relay');
  return Buffer.from(relay.publicKey, 'base64').toString('hex');
}

async function measure(members: number, debug: boolean, say: (text: string) => void): Promise<Round> {
  const place = await openRelayPlace('pbslots');
  let fleet: SlotFleet | null = null;
  try {
    // Every member at an address of its own.
    await place.controller.must(['ip', 'route', 'add', 'local', '10.77.0.0/16', 'dev', 'lo']);
    await place.relay.must(['ip', 'route', 'add', '10.77.0.0/16', 'via', ADDRESSES.controller]);
    const env = { LOG_LEVEL: debug ? 'debug' : 'error' };
    const { relay, joinLink } = await startNetwork(place, env, ['--metrics', METRICS]);
    const { pid } = relay;
    await pass(REST_MS);
    const emptyMegabytes = rssMegabytes(pid);
    fleet = new SlotFleet(place.controller.netns);
    const link = (await joinLink('--reusable', '--expires', '24h')).replace(ADDRESSES.controller, '127.0.0.1');
    const joined = await fleet.ask({ kind: 'join', link, count: members });
    say(`  ${members} joined in ${joined.seconds.toFixed(1)} s, ${joined.failed.length} failed\n`);
    const expected = members - joined.failed.length;
    await until('the relay knows the members', KNOWN_LIMIT_MS, async () => {
      return (await metric(place.relay, 'warren_relay_members')) >= expected;
    });
    await pass(REST_MS);
    const knownMegabytes = rssMegabytes(pid);
    const at = { relayKeyHex: await relayKeyHex(place), relayAddress: ADDRESSES.relay, relayPort: WARREN_PORT };
    const taken = await fleet.ask({ kind: 'slots', ...at });
    await pass(REST_MS);
    const slotsMegabytes = rssMegabytes(pid);
    const before = { cpu: cpuSeconds(pid), switches: voluntarySwitches(pid) };
    await pass(IDLE_SECONDS * 1_000);
    const idle = { cpu: cpuSeconds(pid) - before.cpu, switches: voluntarySwitches(pid) - before.switches };
    return {
      members: expected,
      slots: await metric(place.relay, 'warren_relay_slots'),
      emptyMegabytes,
      knownMegabytes,
      slotsMegabytes,
      slotSeconds: taken.seconds,
      idleCpuPercent: (100 * idle.cpu) / IDLE_SECONDS,
      wakeUpsPerSecond: idle.switches / IDLE_SECONDS,
      failed: [...joined.failed, ...taken.failed].slice(0, 20),
    };
  } finally {
    fleet?.kill();
    await place.lab.close();
  }
}

export async function relaySlots({ rounds, debug, quick, say }: Bench): Promise<SectionResult> {
  const members = quick ? QUICK_MEMBERS : MEMBERS;
  const outcomes = await inRounds(
    rounds,
    say,
    () => measure(members, debug, say),
    ({ slots, emptyMegabytes, knownMegabytes, slotsMegabytes, slotSeconds, failed }) =>
      `${slots} slots in ${slotSeconds.toFixed(1)} s; ${emptyMegabytes.toFixed(0)}, ${knownMegabytes.toFixed(0)}, ${slotsMegabytes.toFixed(0)} MB${failed.length === 0 ? '' : `; failed: ${failed[0]}`}`,
  );
  return {
    section: `a relay with ${members} members that are silent`,
    notes: ['each with a session and a slot, at an address of its own; resident memory of the whole process'],
    figures: [
      figure('members', '', outcomes, (round) => round.members, { better: 'more' }),
      figure('slots', '', outcomes, (round) => round.slots, { better: 'more' }),
      figure('memory without members', 'MB', outcomes, (round) => round.emptyMegabytes),
      figure('memory when all are known', 'MB', outcomes, (round) => round.knownMegabytes),
      figure('memory when all have a slot', 'MB', outcomes, (round) => round.slotsMegabytes),
      figure('CPU while all are silent', '%', outcomes, (round) => round.idleCpuPercent, { digits: 2 }),
      figure('wake-ups while all are silent', '/s', outcomes, (round) => round.wakeUpsPerSecond, { digits: 1 }),
    ],
    rounds: outcomes,
  };
}
