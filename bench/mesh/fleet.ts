// The fleet's process: many nodes that are real protocol clients. Driven over IPC by controller-scale.ts: join so many at so
// many at a time, change one node and time how long all others take to hear of it, tell what was received.

import process from 'node:process';
import type { PublicKey } from '../../src/crypto/provider.ts';
import type { Delta } from '../../src/protocol/control.ts';
import { parseJoinLink } from '../../src/protocol/join-link.ts';
import { FleetClient, now } from './fleet-client.ts';

/** Of so many one reads every message whole. */
const THOROUGH_EVERY = 200;
const STALL_MS = 30_000;

export type FleetRequest =
  | { readonly kind: 'join'; readonly link: string; readonly count: number; readonly inFlight: number }
  | { readonly kind: 'change'; readonly node: number; readonly port: number }
  | { readonly kind: 'reconnected' }
  | { readonly kind: 'mark' }
  | { readonly kind: 'stop' };

export type FleetAnswer =
  | { readonly kind: 'joined'; readonly seconds: number; readonly failed: readonly string[] }
  | { readonly kind: 'changed'; readonly milliseconds: readonly number[] }
  | {
      readonly kind: 'reconnected';
      readonly seconds: number;
      readonly bytesPerNode: number;
      readonly worstBytes: number;
    }
  | { readonly kind: 'marked' }
  | { readonly kind: 'stopped' };

const clients: FleetClient[] = [];
const failures: string[] = [];
let connected = 0;
let joining: { target: number; inFlight: number; authKey: string; done: () => void } | null = null;
let watching: { endpoint: string; since: number; times: number[]; seen: Set<number>; done: () => void } | null = null;
let returning: { left: Set<number>; done: () => void } | null = null;

const events = {
  connected(client: FleetClient): void {
    connected++;
    returning?.left.delete(client.index);
    if (returning?.left.size === 0) returning.done();
    if (joining === null) return;
    if (connected >= joining.target) joining.done();
    else launch();
  },
  delta(client: FleetClient, delta: Delta): void {
    if (watching === null || watching.seen.has(client.index)) return;
    const { endpoint } = watching;
    const told = delta.ops.some(
      (op) => op.op === 'candidates' && op.candidates.some((candidate) => candidate.endpoint === endpoint),
    );
    if (!told) return;
    watching.seen.add(client.index);
    watching.times.push(now() - watching.since);
    if (watching.seen.size === clients.length) watching.done();
  },
  failed(_client: FleetClient, why: string): void {
    if (failures.length < 20) failures.push(why);
  },
};

let make: ((index: number) => FleetClient) | null = null;
let launchNext: () => FleetClient | undefined = () => undefined;

function launch(): void {
  while (joining !== null && clients.length < joining.target && clients.length - connected < joining.inFlight) {
    const client = launchNext();
    if (client === undefined) return;
    clients.push(client);
    client.start(joining.authKey);
  }
}

async function join(request: FleetRequest & { kind: 'join' }): Promise<FleetAnswer> {
  const parsed = parseJoinLink(request.link);
  if (!parsed.ok || parsed.link.authKey === null) throw new Error('not a join link');
  const { url, controllerKey, authKey } = parsed.link;
  const target = { url, controllerKey: new Uint8Array(Buffer.from(controllerKey, 'base64url')) as PublicKey };
  make = (index) => new FleetClient(index, index % THOROUGH_EVERY === 0, target, events);
  // Keys are made before the clock runs: that is the machines' work, not the controller's.
  const made = Array.from({ length: request.count }, (_, i) => make?.(clients.length + i) as FleetClient);
  const first = clients.length;
  const started = now();
  let last = -1;
  const watchdog = setInterval(() => {
    if (connected === last) throw new Error(`nobody joined for ${STALL_MS / 1000} s: ${failures.join('; ')}`);
    last = connected;
  }, STALL_MS);
  await new Promise<void>((done) => {
    launchNext = () => made[clients.length - first];
    joining = { target: clients.length + request.count, inFlight: request.inFlight, authKey, done };
    launch();
  });
  clearInterval(watchdog);
  joining = null;
  return { kind: 'joined', seconds: (now() - started) / 1000, failed: failures };
}

async function change(request: FleetRequest & { kind: 'change' }): Promise<FleetAnswer> {
  const client = clients[request.node] as FleetClient;
  const { index } = client;
  const endpoint = `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}:${request.port}`;
  const times: number[] = [];
  FleetClient.everything = true;
  const limit = setTimeout(() => {
    throw new Error(`${clients.length - times.length} nodes have not heard of a change after ${STALL_MS / 1000} s`);
  }, STALL_MS);
  await new Promise<void>((done) => {
    watching = { endpoint, since: now(), times, seen: new Set(), done };
    client.setPort(request.port);
  });
  clearTimeout(limit);
  FleetClient.everything = false;
  watching = null;
  return { kind: 'changed', milliseconds: times.sort((a, b) => a - b) };
}

let bytesBefore: number[] = [];
let markedAt = 0;

/** Called before the controller ends: what comes from here on belongs to the return. */
function mark(): FleetAnswer {
  connected = 0;
  bytesBefore = clients.map((client) => client.bytesReceived);
  markedAt = now();
  returning = { left: new Set(clients.map(({ index }) => index)), done: () => undefined };
  return { kind: 'marked' };
}

async function reconnected(): Promise<FleetAnswer> {
  const wait = returning;
  if (wait !== null && wait.left.size > 0) {
    await new Promise<void>((done) => {
      wait.done = done;
    });
  }
  returning = null;
  const bytes = clients.map((client, i) => client.bytesReceived - (bytesBefore[i] ?? 0));
  const total = bytes.reduce((sum, each) => sum + each, 0);
  return {
    kind: 'reconnected',
    seconds: (now() - markedAt) / 1000,
    bytesPerNode: total / clients.length,
    worstBytes: Math.max(...bytes),
  };
}

function handle(request: FleetRequest): Promise<FleetAnswer> {
  switch (request.kind) {
    case 'join':
      return join(request);
    case 'change':
      return change(request);
    case 'mark':
      return Promise.resolve(mark());
    case 'reconnected':
      return reconnected();
    case 'stop':
      for (const client of clients) client.stop();
      return Promise.resolve({ kind: 'stopped' });
    default:
      return request satisfies never;
  }
}

process.on('message', (request: FleetRequest) => {
  handle(request).then(
    (answer) => {
      process.send?.(answer);
      if (answer.kind === 'stopped') process.disconnect();
    },
    (error: unknown) => {
      process.stderr.write(`fleet: ${String(error)}\n`);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit(0));
