// Commands that wait, and the batch of them that is being stored. Each is decided against the state with those before it, in
// a draft: the durable state is not touched until the batch is committed, so one that fails leaves nothing to undo.

import { assert } from '../../base/assert.ts';
import type { NodeId } from '../../protocol/values.ts';
import { apply } from './apply.ts';
import type { Command, ConnectionId, Decision, Outcome } from './commands.ts';
import type { MeshState } from './mesh-state.ts';
import type { Change } from './model.ts';

export interface Decided {
  readonly command: Command;
  readonly outcome: Outcome;
}

export interface Batch {
  readonly changes: readonly Change[];
  readonly decided: readonly Decided[];
}

export class Batches {
  readonly #commandsMax: number;
  #waiting: Command[] = [];
  #flight: Batch | null = null;
  /** Of the commands decided so far: nodes that a connection was registered as. */
  readonly #arriving = new Map<NodeId, ConnectionId>();

  constructor(commandsMax: number) {
    this.#commandsMax = commandsMax;
  }

  add(command: Command): void {
    this.#waiting.push(command);
  }

  get isIdle(): boolean {
    return this.#flight === null && this.#waiting.length === 0;
  }

  isArriving(node: NodeId): boolean {
    return this.#arriving.has(node);
  }

  /** The next commands, decided; null when none wait or a batch is in flight. One without changes is done already. */
  next(state: MeshState, decideOne: (draft: MeshState, command: Command) => Decision): Batch | null {
    if (this.#flight !== null || this.#waiting.length === 0) return null;
    const draft = state.draft();
    const changes: Change[] = [];
    const decided: Decided[] = [];
    for (const command of this.#waiting.splice(0, this.#commandsMax)) {
      const decision = decideOne(draft, command);
      apply(draft, decision.changes);
      for (const change of decision.changes) changes.push(change);
      decided.push({ command, outcome: decision.outcome });
      if (decision.outcome.kind === 'registered' && command.kind === 'register') {
        this.#arriving.set(decision.outcome.node, command.speaker.connection);
      }
    }
    this.#arriving.clear();
    const batch = { changes: withoutSuperseded(changes), decided };
    if (batch.changes.length > 0) this.#flight = batch;
    return batch;
  }

  /** The batch in flight, which is no more. */
  land(): Batch {
    const batch = this.#flight;
    assert(batch !== null, 'a batch is in flight');
    this.#flight = null;
    return batch;
  }
}

/** Of settings and of each auth key, the last record is enough. Nodes keep their order: names and addresses change hands. */
function withoutSuperseded(changes: readonly Change[]): readonly Change[] {
  const seen = new Set<string>();
  const kept: Change[] = [];
  for (let i = changes.length - 1; i >= 0; i--) {
    const change = changes[i] as Change;
    const record = change.kind === 'settings' ? 'settings' : change.kind === 'putAuthKey' ? change.key.id : null;
    if (record !== null && seen.has(record)) continue;
    if (record !== null) seen.add(record);
    kept.push(change);
  }
  return kept.reverse();
}
