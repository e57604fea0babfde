// A control client under virtual time, with everything that it gives rise to written down. The test is the controller.

import type { Instant, WallTime } from '../../../src/base/instant.ts';
import type { IpPrefix } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { ControlClient, type ControlStart } from '../../../src/mesh/control-client.ts';
import {
  controllerMessageSchema,
  type NodeMessage,
  nodeMessageSchema,
  type RegisterMessage,
} from '../../../src/protocol/control.ts';

export const EPOCH = 'EEEEEEEEEEEEEEEE';
const WALL = 1_700_000_000_000;

export class ControlFixture {
  readonly client: ControlClient;
  now = 1_000_000 as Instant;
  /** What came out, in order: `connect 1 current`, `close 1`, `send register`, … */
  readonly log: string[] = [];
  readonly sent: NodeMessage[] = [];
  readonly connects: { readonly connection: number; readonly key: string; readonly at: number }[] = [];
  changes = 0;
  onDelta: () => void = () => {};
  readonly #prng: Prng;

  constructor(seed = 1) {
    this.#prng = new Prng(seed);
    this.client = new ControlClient({
      random: (out) => this.#prng.fill(out),
      wallClock: () => (WALL + this.now) as WallTime,
      software: 'warren test',
      os: 'linux',
      outputs: {
        connect: (connection, key) => {
          this.connects.push({ connection, key, at: this.now });
          this.log.push(`connect ${key}`);
        },
        close: () => this.log.push('close'),
        send: (_connection, message) => {
          // What is sent must be what a controller takes.
          nodeMessageSchema.parse(message);
          this.sent.push(message);
          this.log.push(`send ${message.type}`);
        },
        probe: () => this.log.push('probe'),
        welcome: () => this.log.push('welcome'),
        snapshot: () => this.log.push('snapshot'),
        delta: (delta) => {
          this.log.push(`delta ${delta.from}-${delta.seq}`);
          this.onDelta();
        },
        punch: () => this.log.push('punch'),
        persistNextKey: (publicKey) => this.log.push(`persist ${publicKey}`),
        keySwitched: (publicKey) => this.log.push(`switched ${publicKey}`),
        nextKeyRefused: (publicKey) => this.log.push(`refused ${publicKey}`),
        changed: () => {
          this.changes++;
        },
      },
    });
  }

  start(over: Partial<ControlStart> = {}): void {
    this.client.start({ hostname: 'here', authKey: null, resume: null, nextKey: null, ...over }, this.now);
  }

  get connection(): number {
    return this.connects.at(-1)?.connection ?? 0;
  }

  /** What came out since the last call. */
  take(): string[] {
    return this.log.splice(0);
  }

  /** Lets time pass, deadline by deadline. */
  run(durationMs: number): void {
    const end = (this.now + durationMs) as Instant;
    for (let at = this.client.nextDeadline(); at <= end; at = this.client.nextDeadline()) {
      this.now = Math.max(this.now, at) as Instant;
      this.client.handleDeadline(this.now);
      if (this.client.nextDeadline() <= this.now) throw new Error('a deadline that is handled is over');
    }
    this.now = end;
  }

  /** Waits until the client tries again. */
  reconnect(): void {
    const before = this.connects.length;
    this.run(this.client.nextDeadline() - this.now);
    if (this.connects.length !== before + 1) throw new Error('it did not connect again');
  }

  open(): void {
    this.client.opened(this.connection, this.now);
  }

  /** The controller says something; defaults of the schemas are filled in as its messages' are. */
  say(message: unknown, connection = this.connection): void {
    this.client.message(connection, controllerMessageSchema.parse(message), this.now);
  }

  welcome(over: Record<string, unknown> = {}): void {
    this.say({
      type: 'welcome',
      version: 1,
      software: 'controller',
      self: {
        id: 1,
        name: 'here',
        publicKey: `${'A'.repeat(43)}=`,
        address4: '100.64.0.1',
        address6: 'fd77::1',
        tags: [],
        candidates: [],
        online: true,
      },
      network: NETWORK,
      epoch: EPOCH,
      observedAddress: null,
      time: WALL + this.now,
      pingIntervalMs: 10_000,
      stunPorts: [],
      ...over,
    });
  }

  snapshot(seq: number): void {
    this.say({ type: 'snapshot', epoch: EPOCH, seq, network: NETWORK, nodes: [] });
  }

  error(code: string, over: Record<string, unknown> = {}): void {
    this.say({ type: 'error', code, message: `because of ${code}`, help: 'do this', ...over });
  }

  /** Connected with a snapshot at `seq`; what came out until then is forgotten. */
  connected(seq = 5, over: Partial<ControlStart> = {}): this {
    this.start(over);
    this.open();
    this.welcome();
    this.snapshot(seq);
    this.take();
    return this;
  }

  closed(code: 'unreachable' | 'closed' = 'closed'): void {
    this.client.closed(this.connection, { code, message: `it is ${code}` }, this.now);
  }

  get lastRegister(): RegisterMessage {
    const message = this.sent.findLast(({ type }) => type === 'register');
    if (message?.type !== 'register') throw new Error('nothing was registered');
    return message;
  }
}

const NETWORK = { name: 'test', prefix4: '100.64.0.0/10' as IpPrefix, prefix6: 'fd77::/64' as IpPrefix };
