// A controller's store under virtual time: commits take a while and may fail, and a crash meets each of them before it is
// durable, or durable and not yet told. Applies changes by its own few lines, not the controller's, so that it can be held
// against it. What is durable is seen by `onDurable` at that moment.

import type { Prng } from '../../base/prng.ts';
import type {
  AuthKeyRecord,
  Change,
  LoggedOp,
  NodeRecord,
  Settings,
  StoredState,
  TokenRecord,
} from '../../controller/state/model.ts';
import type { NodeId } from '../../protocol/values.ts';
import type { Scheduler } from '../network.ts';

export interface StoreConditions {
  /** Longest time until a transaction is durable, and from there until that is known. */
  commitMs: number;
  toldMs: number;
  /** Of a transaction: then nothing of it is stored. */
  failure: number;
}

export const GOOD_STORE: Readonly<StoreConditions> = { commitMs: 5, toldMs: 1, failure: 0 };

export class MemoryStore {
  conditions: StoreConditions = { ...GOOD_STORE };
  /** Called when a transaction begins. */
  onCommit: () => void = () => undefined;
  onDurable: (changes: readonly Change[]) => void = () => undefined;
  readonly counts = { commits: 0, failures: 0, lost: 0, untold: 0 };
  readonly nodes = new Map<NodeId, NodeRecord>();
  readonly authKeys = new Map<string, AuthKeyRecord>();
  readonly tokens = new Map<string, TokenRecord>();
  log: LoggedOp[] = [];
  settings: Settings;
  readonly #scheduler: Scheduler;
  readonly #prng: Prng;
  readonly #logMax: number;
  /** Bumped at a crash: what was scheduled before is void. */
  #incarnation = 0;
  /** Of the transaction that runs: whether it is durable. */
  #running: { durable: boolean } | null = null;

  constructor(settings: Settings, logMax: number, scheduler: Scheduler, prng: Prng) {
    this.settings = settings;
    this.#logMax = logMax;
    this.#scheduler = scheduler;
    this.#prng = prng;
  }

  get seq(): number {
    return this.log.at(-1)?.seq ?? 0;
  }

  load(): StoredState {
    return {
      settings: this.settings,
      nodes: [...this.nodes.values()],
      authKeys: [...this.authKeys.values()],
      tokens: [...this.tokens.values()],
      log: [...this.log],
    };
  }

  /** `done` is never called when a crash comes first. */
  commit(changes: readonly Change[], done: (stored: boolean) => void): void {
    const { commitMs, toldMs, failure } = this.conditions;
    this.onCommit();
    const running = { durable: false };
    this.#running = running;
    const incarnation = this.#incarnation;
    const fails = this.#prng.chance(failure);
    const told = (): void => {
      if (incarnation !== this.#incarnation) return;
      this.#running = null;
      done(!fails);
    };
    const durableIn = this.#prng.nextFloat() * commitMs;
    const toldIn = this.#prng.nextFloat() * toldMs;
    this.#scheduler.schedule(durableIn, () => {
      if (incarnation !== this.#incarnation) return;
      if (fails) this.counts.failures++;
      else {
        this.counts.commits++;
        running.durable = true;
        this.#apply(changes);
        this.onDurable(changes);
      }
      this.#scheduler.schedule(toldIn, told);
    });
  }

  /** The process that wrote is gone. */
  crash(): void {
    this.#incarnation++;
    if (this.#running !== null) this.counts[this.#running.durable ? 'untold' : 'lost']++;
    this.#running = null;
  }

  /** Everything as it was, in another epoch: what `warren controller restore` makes of a backup. */
  restore(backup: StoredState, epoch: string): void {
    this.crash();
    this.nodes.clear();
    this.authKeys.clear();
    this.tokens.clear();
    for (const node of backup.nodes) this.nodes.set(node.id, node);
    for (const key of backup.authKeys) this.authKeys.set(key.id, key);
    for (const token of backup.tokens) this.tokens.set(token.id, token);
    this.log = [...backup.log];
    this.settings = { ...backup.settings, epoch };
  }

  #apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind === 'putNode') this.nodes.set(change.node.id, change.node);
      else if (change.kind === 'deleteNode') this.nodes.delete(change.id);
      else if (change.kind === 'putAuthKey') this.authKeys.set(change.key.id, change.key);
      else if (change.kind === 'putToken') this.tokens.set(change.token.id, change.token);
      else if (change.kind === 'settings') this.settings = change.settings;
      else if (change.kind === 'op') this.log.push(change.entry);
    }
    if (this.log.length > this.#logMax) this.log = this.log.slice(-this.#logMax);
  }
}
