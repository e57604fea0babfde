// Many nodes: joins through decide, apply and fan-out, with transports that always have room. The figures that are asserted
// are counts, which do not depend on the machine. WARREN_CORE_NODES=10000 makes it large and prints the rate.

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Instant, WallTime } from '../../../src/base/instant.ts';
import type { IpAddress } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import type { ConnectionId } from '../../../src/controller/state/commands.ts';
import { ControllerCore } from '../../../src/controller/state/core.ts';
import type { SharedMessage } from '../../../src/controller/state/outputs.ts';
import type { RegisterMessage } from '../../../src/protocol/control.ts';
import type { Candidate } from '../../../src/protocol/values.ts';
import { ADMIN, key, MemoryStore, START, settings, WALL_START } from './lab.ts';

const NODES = Number(process.env['WARREN_CORE_NODES'] ?? 1_000);
const JOINS_PER_SECOND = 200;
/** Each commit takes this long: what is asked meanwhile waits for the next. */
const COMMIT_MS = 5;

interface Figures {
  sends: number;
  readonly shared: Set<SharedMessage>;
  operations: number;
  snapshotNodes: number;
}

function register(number: number, authKey: string | null): RegisterMessage {
  const endpoint = `192.168.${number >> 8}.${number & 255}:51820`;
  return {
    type: 'register',
    version: 1,
    software: 'warren 0.2.0',
    os: 'linux',
    hostname: `machine-${number % 50}`,
    authKey,
    resume: null,
    candidates: [{ kind: 'host', endpoint } as Candidate],
    listenPort: 51_820,
  };
}

test('joins cost each connection few messages, and few distinct ones are made', { timeout: 300_000 }, () => {
  const random = new Prng(1);
  let ms = 0;
  const clock = () => ({ now: (START + ms) as Instant, wall: (WALL_START + ms) as WallTime });
  const core = new ControllerCore(
    new MemoryStore(settings()).load(),
    {
      random: (out) => random.fill(out),
      sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),
      software: 'warren test',
    },
    clock(),
  );
  const figures: Figures = { sends: 0, shared: new Set(), operations: 0, snapshotNodes: 0 };
  let secret = '';
  const carryOut = (): void => {
    for (let outputs = core.takeOutputs(); outputs.length > 0; outputs = core.takeOutputs()) {
      for (const output of outputs) {
        if (output.kind === 'answered' && output.answer.ok && output.answer.result.kind === 'authKeyCreated') {
          secret = output.answer.result.secret;
        }
        if (output.kind !== 'sendShared') continue;
        figures.sends++;
        if (!figures.shared.has(output.shared)) {
          figures.shared.add(output.shared);
          const { message } = output.shared;
          if (message.type === 'delta') figures.operations += message.ops.length;
          else figures.snapshotNodes += message.nodes.length;
        }
        core.writable(output.conn, clock());
      }
    }
  };
  const step = (): void => {
    ms += COMMIT_MS;
    if (core.takeBatch(clock()) !== null) core.batchCommitted(clock());
    if (core.nextDeadline() <= clock().now) core.handleDeadline(clock());
    carryOut();
  };
  const input = { description: '', ephemeral: false, preApproved: false, tags: [], expiresInSeconds: null };
  core.administer({ action: 'keys.create', input: { ...input, reusable: true } }, ADMIN, clock());
  step();
  const before = process.memoryUsage().heapUsed;
  const started = performance.now();
  for (let number = 1; number <= NODES; number++) {
    const conn = number as ConnectionId;
    const remoteAddress = `10.0.${number >> 8}.${number & 255}` as IpAddress;
    core.connected(conn, { publicKey: key(number), remoteAddress }, clock());
    core.received(conn, register(number, secret), clock());
    if (number % ((JOINS_PER_SECOND * COMMIT_MS) / 1000) === 0) step();
  }
  const joinedMs = ms;
  for (let i = 0; i < 200; i++) step();
  const tookMs = performance.now() - started;
  figures.shared.clear();
  const heapMb = (process.memoryUsage().heapUsed - before) / 2 ** 20;

  expect(core.connectedCount).toBe(NODES);
  expect(core.state.seq).toBe(NODES);
  // Rounds are at least 0.1 ms × connections apart; each connection is sent at most one message in a round.
  const rounds = core.counters.fanOuts;
  expect(figures.sends).toBeLessThanOrEqual(NODES + rounds * NODES);
  expect(core.counters.snapshotsBuilt).toBeLessThan(60);
  expect(core.counters.deltasBuilt).toBeLessThan(3 * rounds + 60);
  if (process.env['WARREN_CORE_NODES'] === undefined) return;
  process.stdout.write(
    `${NODES} joins in ${Math.round(tookMs)} ms (${Math.round((NODES * 1000) / tookMs)}/s; ${joinedMs} ms virtual), ` +
      `${rounds} rounds, ${figures.sends} netmap messages to connections, ${core.counters.deltasBuilt} deltas with ` +
      `${figures.operations} operations and ${core.counters.snapshotsBuilt} snapshots with ${figures.snapshotNodes} nodes made, ` +
      `heap +${heapMb.toFixed(1)} MB\n`,
  );
});
