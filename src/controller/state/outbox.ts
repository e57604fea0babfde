// Outputs in the order in which they came to be, and the limit on what is on its way to one connection: punches are
// dropped at theirs, other messages of its own close it as too slow.

import type { ControllerMessage, ErrorCode, Punch } from '../../protocol/control.ts';
import type { AdminAnswer, Ticket } from './commands.ts';
import type { Connection } from './connections.ts';
import type { Counters } from './counters.ts';
import { controlError } from './errors.ts';
import type { CoreLimits } from './options.ts';
import type { Output } from './outputs.ts';

export class Outbox {
  readonly #limits: CoreLimits;
  readonly #counters: Counters;
  #outputs: Output[] = [];

  constructor(limits: CoreLimits, counters: Counters) {
    this.#limits = limits;
    this.#counters = counters;
  }

  push(output: Output): void {
    this.#outputs.push(output);
  }

  take(): Output[] {
    const outputs = this.#outputs;
    this.#outputs = [];
    return outputs;
  }

  answer(ticket: Ticket, answer: AdminAnswer): void {
    this.#outputs.push({ kind: 'answered', ticket, answer });
  }

  /** False: it does not drain, and has to be closed. */
  send(conn: Connection, message: ControllerMessage): boolean {
    if (conn.ownQueued >= this.#limits.ownMessagesMax) {
      this.#counters.closedTooSlow++;
      return false;
    }
    conn.ownQueued++;
    this.#outputs.push({ kind: 'send', conn: conn.id, message });
    return true;
  }

  sendError(conn: Connection, code: ErrorCode, retryAfterMs: number | null): boolean {
    this.#counters.errors[code]++;
    return this.send(conn, controlError(code, retryAfterMs));
  }

  /** False: dropped. */
  sendPunch(conn: Connection, punch: Punch): boolean {
    if (conn.punchesQueued >= this.#limits.punchesQueuedMax) return false;
    conn.punchesQueued++;
    this.#outputs.push({ kind: 'send', conn: conn.id, message: punch });
    return true;
  }

  drained(conn: Connection): void {
    conn.ownQueued = 0;
    conn.punchesQueued = 0;
    conn.busy = false;
  }
}
