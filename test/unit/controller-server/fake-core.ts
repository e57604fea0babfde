// A core that does as a test says: records what it is told, and gives out what the test has put there. The real one has tests
// of its own; here it is the server around it that is tried.

import type { Instant, WallTime } from '../../../src/base/instant.ts';
import { NEVER } from '../../../src/base/instant.ts';
import type { Core } from '../../../src/controller/server/core-host.ts';
import type { AdminAnswer, AdminCommand, ConnectionId, Ticket } from '../../../src/controller/state/commands.ts';
import type { Change } from '../../../src/controller/state/model.ts';
import type { Output } from '../../../src/controller/state/outputs.ts';
import type { ControllerMessage, NodeMessage } from '../../../src/protocol/control.ts';

export interface Told {
  readonly kind: 'connected' | 'received' | 'malformed' | 'disconnected' | 'writable';
  readonly conn: ConnectionId;
  readonly message?: NodeMessage;
  readonly publicKey?: string;
  readonly remoteAddress?: string | null;
}

export class FakeCore implements Core {
  readonly told: Told[] = [];
  readonly outputs: Output[] = [];
  batches: Change[][] = [];
  committed = 0;
  failed = 0;
  deadline: Instant = NEVER;
  deadlinesHandled = 0;
  /** Called for every message. */
  onReceived: (conn: ConnectionId, message: NodeMessage) => void = () => undefined;
  onWritable: (conn: ConnectionId) => void = () => undefined;
  #tickets = 0;

  send(conn: ConnectionId, message: ControllerMessage): void {
    this.outputs.push({ kind: 'send', conn, message });
  }

  connected(conn: ConnectionId, peer: { publicKey: string; remoteAddress: string | null }): void {
    this.told.push({ kind: 'connected', conn, ...peer });
  }

  received(conn: ConnectionId, message: NodeMessage): void {
    this.told.push({ kind: 'received', conn, message });
    this.onReceived(conn, message);
  }

  receivedMalformed(conn: ConnectionId): void {
    this.told.push({ kind: 'malformed', conn });
    this.outputs.push({ kind: 'close', conn });
  }

  disconnected(conn: ConnectionId): void {
    this.told.push({ kind: 'disconnected', conn });
  }

  writable(conn: ConnectionId): void {
    this.told.push({ kind: 'writable', conn });
    this.onWritable(conn);
  }

  administer(command: AdminCommand): Ticket {
    const ticket = ++this.#tickets as Ticket;
    const refusal = { code: 'internal', message: command.action, why: null, help: null } as const;
    const answer: AdminAnswer = { ok: false, refusal };
    this.outputs.push({ kind: 'answered', ticket, answer });
    return ticket;
  }

  takeBatch(): readonly Change[] | null {
    return this.batches.shift() ?? null;
  }

  batchCommitted(): void {
    this.committed++;
  }

  batchFailed(): void {
    this.failed++;
  }

  goAway(): void {
    for (const { conn } of this.told.filter(({ kind }) => kind === 'connected')) {
      this.send(conn, { type: 'error', code: 'goingAway', message: 'm', help: 'h', retryAfterMs: null });
      this.outputs.push({ kind: 'close', conn });
    }
  }

  takeOutputs(): Output[] {
    return this.outputs.splice(0);
  }

  nextDeadline(): Instant {
    return this.deadline;
  }

  handleDeadline(): void {
    this.deadline = NEVER;
    this.deadlinesHandled++;
  }

  of(kind: Told['kind']): Told[] {
    return this.told.filter((told) => told.kind === kind);
  }
}

export const wallNow = (): WallTime => Date.now() as WallTime;
