// What falls due by itself for nodes: being announced as offline, being removed (ephemeral ones), running out. A node is
// watched while it has no connection. After a restart all who were online have a longer time to come back.

import { type Instant, NEVER } from '../../base/instant.ts';
import type { NodeId } from '../../protocol/values.ts';
import type { Command } from './commands.ts';
import type { DurableState } from './mesh-state.ts';
import type { NodeRecord } from './model.ts';
import type { CoreLimits } from './options.ts';
import type { Clock } from './outputs.ts';
import { Schedule } from './schedule.ts';

/** The wall clock may be set while we sleep towards an expiry; we look at it this often. */
const WALL_LOOK_MS = 60_000;

export class Dues {
  readonly #limits: CoreLimits;
  /** Both by the monotonic clock. */
  readonly #offline = new Schedule<NodeId>();
  readonly #sweep = new Schedule<NodeId>();
  /** By the wall clock. */
  readonly #expiry = new Schedule<NodeId>();
  #presenceAt: Instant;

  constructor(state: DurableState, limits: CoreLimits, clock: Clock) {
    this.#limits = limits;
    this.#presenceAt = clock.now;
    for (const node of state.nodes()) {
      this.noteExpiry(node, state.isListed(node.id));
      if (node.online) this.#offline.set(node.id, clock.now + limits.restartGraceMs);
      else this.noteAway(node, clock.now);
    }
  }

  noteExpiry(node: NodeRecord, isListed: boolean): void {
    if (node.expiresAt !== null && isListed) this.#expiry.set(node.id, node.expiresAt);
    else this.#expiry.delete(node.id);
  }

  /** It has no connection; the first to say so counts. */
  noteAway(node: NodeRecord, now: Instant): void {
    if (node.online && !this.#offline.has(node.id)) this.#offline.set(node.id, now + this.#limits.offlineGraceMs);
    if (node.ephemeral && !this.#sweep.has(node.id)) this.#sweep.set(node.id, now + this.#limits.ephemeralMs);
  }

  noteBack(id: NodeId): void {
    this.#offline.delete(id);
    this.#sweep.delete(id);
  }

  noteGone(id: NodeId): void {
    this.noteBack(id);
    this.#expiry.delete(id);
  }

  takeDue(clock: Clock): Command[] {
    const commands: Command[] = [];
    if (clock.now >= this.#presenceAt && this.#offline.next() <= clock.now) {
      commands.push({ kind: 'presence', nodes: this.#offline.takeDue(clock.now) });
      this.#presenceAt = (clock.now + this.#limits.presenceIntervalMs) as Instant;
    }
    const expired = this.#expiry.takeDue(clock.wall);
    if (expired.length > 0) commands.push({ kind: 'expiry', nodes: expired });
    const swept = this.#sweep.takeDue(clock.now);
    if (swept.length > 0) commands.push({ kind: 'sweep', nodes: swept });
    return commands;
  }

  /** What `takeDue` gave could not be stored. */
  retry(command: Extract<Command, { kind: 'presence' | 'expiry' | 'sweep' }>, clock: Clock): void {
    const schedule = { presence: this.#offline, expiry: this.#expiry, sweep: this.#sweep }[command.kind];
    const from = command.kind === 'expiry' ? clock.wall : clock.now;
    for (const id of command.nodes) if (!schedule.has(id)) schedule.set(id, from + this.#limits.retryMs);
  }

  deadline(clock: Clock): Instant {
    const offline = this.#offline.size === 0 ? NEVER : Math.max(this.#offline.next(), this.#presenceAt);
    const wallWait = Math.max(0, this.#expiry.next() - clock.wall);
    const expiry = this.#expiry.size === 0 ? NEVER : clock.now + Math.min(wallWait, WALL_LOOK_MS);
    return Math.min(offline, this.#sweep.next(), expiry) as Instant;
  }
}
