// Random commands, slow connections, failing stores and restarts, seeded. At every step the core's memory is what the store
// holds, and no two nodes share a name, key or address, not even between two changes of a batch. At rest, every connected
// node's netmap is what the records say, and so is the history replayed from its beginning.

import { expect, test } from 'vitest';
import type { WallTime } from '../../../src/base/instant.ts';
import type { IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import type { AdminCommand } from '../../../src/controller/state/commands.ts';
import type { NetmapNode } from '../../../src/protocol/netmap.ts';
import type { NodeId, NodeName } from '../../../src/protocol/values.ts';
import { ADMIN, type Client, key, Lab } from './lab.ts';

const SEEDS = Number(process.env['WARREN_MODEL_SEEDS'] ?? 30);
const FIRST = Number(process.env['WARREN_MODEL_FIRST'] ?? 1);
const STEPS = 150;
const MACHINES = 12;

/** A machine as its daemon is: a key, a netmap of its own, at most one connection that it knows of. */
interface Machine {
  key: number;
  client: Client | null;
  earlier: Client | null;
}

class Run {
  readonly random: Prng;
  readonly lab: Lab;
  readonly machines: Machine[];
  readonly secrets: string[] = ['no-such-secret-at-all'];
  #lastKey = MACHINES;

  constructor(seed: number) {
    this.random = new Prng(seed);
    const settings = { prefix4: `10.0.0.0/${this.random.pick([24, 28, 29])}` as IpPrefix };
    const limits = {
      loggedOpsMax: this.random.pick([8, 1_000]),
      snapshotLagMin: this.random.pick([2, 64]),
      deltaOpsMax: this.random.pick([4, 10_000]),
      fanOutCostMs: this.random.pick([0.1, 40]),
      batchCommandsMax: this.random.pick([2, 1_000]),
      authFailuresBurst: 1_000,
      registerIntervalMs: 100,
    };
    this.lab = new Lab({ settings, limits, trusting: true });
    this.machines = Array.from({ length: MACHINES }, (_, i) => ({ key: i + 1, client: null, earlier: null }));
  }

  step(): void {
    const machine = this.random.pick(this.machines);
    this.#learn(machine);
    const { client } = machine;
    const dice = this.random.nextInt(0, 99);
    if (dice < 25) this.#connect(machine);
    else if (dice < 32) this.#leave(machine);
    else if (dice < 42) client?.send({ type: 'candidates', candidates: this.#candidates(), listenPort: 5 });
    else if (dice < 46) client?.send(this.#punch());
    else if (dice < 50) this.#rotate(machine);
    else if (dice < 53) client?.send({ type: 'goodbye', reason: this.random.pick(['down', 'logout']) });
    else if (dice < 56)
      client?.register({ resume: this.random.chance(0.5) ? null : client.position, ...this.#hostname() });
    else if (dice < 75) this.#administer();
    else if (dice < 84) this.lab.advance(this.random.pick([1, 100, 5_000, 11_000, 100_000, 400_000]));
    else if (dice < 89) this.#slowDown();
    else if (dice < 95) this.#trouble();
    else if (dice < 96) this.#restart();
    this.#check();
  }

  /** All trouble ends; everything that was put off happens. */
  rest(): void {
    this.lab.storeFails = false;
    this.lab.storeWaits = false;
    if (this.lab.holdsBatch) this.lab.commit();
    for (const client of this.lab.clients) {
      client.slow = false;
      client.drain();
    }
    this.lab.run();
    this.lab.advance(5_000);
    this.#check();
    const expected = this.#netmap();
    for (const client of this.lab.clients) {
      if (client.of('welcome').length === 0) continue;
      expect(sorted(client.netmap)).toEqual(expected);
    }
    expect(sorted(this.#replay())).toEqual(expected);
  }

  /** A daemon keeps what its last connection taught it. */
  #learn(machine: Machine): void {
    if (machine.client === null || !machine.client.closed) return;
    machine.earlier = machine.client;
    machine.client = null;
  }

  #connect(machine: Machine): void {
    if (machine.client !== null && this.random.chance(0.7)) return;
    const client = this.lab.connect(key(machine.key));
    if (machine.earlier !== null) client.remember(machine.earlier);
    machine.client = client;
    if (this.random.chance(0.6)) this.#makeKey();
    const some = this.random.chance(0.5) ? this.random.pick(this.secrets) : (this.secrets.at(-1) ?? null);
    const authKey = this.random.chance(0.3) ? null : some;
    client.register({ authKey, candidates: this.#candidates(), listenPort: 5, ...this.#hostname() });
  }

  #leave(machine: Machine): void {
    machine.client?.disconnect();
    this.#learn(machine);
  }

  #rotate(machine: Machine): void {
    if (machine.client === null) return;
    const next = this.random.chance(0.3) ? this.random.pick(this.machines).key : ++this.#lastKey;
    machine.client.send({ type: 'rotateKey', publicKey: key(next) });
    if (machine.client.of('keyRotated').at(-1)?.publicKey === key(next)) machine.key = next;
  }

  #punch() {
    const to = this.random.nextInt(1, 20) as NodeId;
    return { type: 'punch' as const, to, txid: 1, reply: false, candidates: [] };
  }

  #hostname(): { hostname: string } {
    return { hostname: this.random.pick(['web', 'Web', 'db', 'web-2', '???', 'localhost']) };
  }

  #candidates() {
    const some = ['10.1.0.1:5', '10.1.0.2:5', '[fe80::1%2]:5', '127.0.0.1:5'];
    return some
      .filter(() => this.random.chance(0.4))
      .map((endpoint) => ({ kind: 'host' as const, endpoint: endpoint as never }));
  }

  #makeKey(): void {
    const { random } = this;
    const input = {
      description: '',
      reusable: random.chance(0.3),
      ephemeral: random.chance(0.3),
      preApproved: random.chance(0.3),
      tags: random.chance(0.3) ? ['t'] : [],
      expiresInSeconds: random.chance(0.3) ? 20 : null,
    };
    const ticket = this.lab.core.administer({ action: 'keys.create', input }, ADMIN, this.lab.clock);
    this.lab.run();
    const answer = this.lab.answer(ticket);
    if (answer?.ok && answer.result.kind === 'authKeyCreated') this.secrets.push(answer.result.secret);
  }

  #administer(): void {
    for (let i = this.random.nextInt(1, 4); i > 0; i--) {
      this.lab.core.administer(this.#command(), ADMIN, this.lab.clock);
    }
    this.lab.run();
  }

  #command(): AdminCommand {
    const { random, lab } = this;
    const nodes = [...lab.core.state.nodes()];
    const node = (nodes.length === 0 ? 1 : random.pick(nodes).id) as NodeId;
    const name = random.pick(['web', 'db', 'x', 'y', 'web-2']) as NodeName;
    const host = random.nextInt(0, 20);
    const addresses = { address4: `10.0.0.${host}` as never, address6: `fd00:77::${host.toString(16)}` as never };
    const expiresAt = random.pick([null, (lab.wall - 1) as WallTime, (lab.wall + 7_000) as WallTime]);
    return random.pick<AdminCommand>([
      { action: 'nodes.approve', node },
      { action: 'nodes.rename', node, name },
      { action: 'nodes.expire', node },
      { action: 'nodes.remove', node },
      { action: 'nodes.change', node, edit: { disabled: random.chance(0.4) } },
      { action: 'nodes.change', node, edit: { expiresAt } },
      { action: 'nodes.change', node, edit: { addresses, tags: random.pick([['a'], ['b']]) } },
      { action: 'settings.change', edit: { requireApproval: random.chance(0.3) } },
    ]);
  }

  #slowDown(): void {
    const { clients } = this.lab;
    if (clients.length === 0) return;
    const client = this.random.pick(clients);
    client.slow = !client.slow;
    if (!client.slow) client.drain();
    this.lab.run();
  }

  #trouble(): void {
    const { lab, random } = this;
    if (lab.holdsBatch) lab.commit(random.chance(0.7));
    else if (random.chance(0.5)) lab.storeWaits = !lab.storeWaits;
    else lab.storeFails = !lab.storeFails && random.chance(0.5);
  }

  #restart(): void {
    this.lab.storeWaits = false;
    this.lab.restart(this.random.pick([0, 1_000, 30_000]));
    for (const machine of this.machines) this.#learn(machine);
  }

  #check(): void {
    const { state } = this.lab.core;
    const stored = this.lab.store;
    expect([...state.nodes()]).toEqual([...stored.nodes.values()].sort((a, b) => a.id - b.id));
    expect(state.settings).toEqual(stored.settings);
    expect(state.seq).toBe(stored.log.at(-1)?.seq ?? 0);
    expect(new Map([...state.authKeys()].map((record) => [record.id, record]))).toEqual(stored.authKeys);
    expect(stored.audit.every(({ id }, i) => id === i + 1)).toBe(true);
  }

  #netmap(): NetmapNode[] {
    const nodes = [...this.lab.store.nodes.values()].filter(
      (node) => node.approved && !node.disabled && (node.expiresAt === null || node.expiresAt > this.lab.wall),
    );
    return nodes
      .sort((a, b) => a.id - b.id)
      .map(({ id, name, publicKey, address4, address6, tags, candidates, online }) => ({
        id,
        name,
        publicKey,
        address4,
        address6,
        tags: [...tags],
        candidates: [...candidates],
        online,
      }));
  }

  #replay(): Map<number, NetmapNode> {
    const netmap = new Map<number, NetmapNode>();
    for (const { op } of this.lab.store.log) {
      if (op.op === 'put') netmap.set(op.node.id, op.node);
      if (op.op === 'remove') netmap.delete(op.id);
      const node = op.op === 'candidates' || op.op === 'presence' ? netmap.get(op.id) : undefined;
      if (node === undefined) continue;
      if (op.op === 'candidates') netmap.set(op.id, { ...node, candidates: op.candidates });
      if (op.op === 'presence') netmap.set(op.id, { ...node, online: op.online });
    }
    return netmap;
  }
}

function sorted(netmap: ReadonlyMap<number, NetmapNode>): NetmapNode[] {
  return [...netmap.values()].sort((a, b) => a.id - b.id);
}

test(`whatever happens, memory is the store and netmaps follow it (${SEEDS} seeds)`, { timeout: 300_000 }, () => {
  const totals = { joined: 0, renewed: 0, returned: 0, failed: 0, snapshots: 0, resumes: 0, expired: 0 };
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const run = new Run(seed);
    try {
      for (let step = 0; step < STEPS; step++) run.step();
      run.rest();
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    const { counters } = run.lab.core;
    totals.joined += counters.registrationsJoined;
    totals.renewed += counters.registrationsRenewed;
    totals.returned += counters.registrationsReturned;
    totals.failed += counters.batchesFailed;
    totals.snapshots += counters.snapshotsSent;
    totals.resumes += counters.resumes;
    totals.expired += counters.errors.nodeExpired;
  }
  // The dice reach every corner.
  expect(Object.entries(totals).filter(([, count]) => count < SEEDS / 10)).toEqual([]);
});
