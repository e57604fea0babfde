// The last operations in memory, for cursors that are behind. Bounded: the oldest go first, a quarter at a time. The
// store keeps its own.

import { assert } from '../../base/assert.ts';
import type { NetmapOp } from '../../protocol/netmap.ts';
import type { LoggedOp } from './model.ts';

export class OpLog {
  readonly #max: number;
  /** `#ops[i]` has the number `#base + i + 1`. */
  #ops: NetmapOp[];
  #base: number;

  constructor(stored: readonly LoggedOp[], max: number) {
    this.#max = max;
    const kept = stored.slice(-max);
    this.#ops = kept.map((entry) => entry.op);
    this.#base = (kept[0]?.seq ?? 1) - 1;
  }

  get seq(): number {
    return this.#base + this.#ops.length;
  }

  append(entry: LoggedOp): void {
    assert(entry.seq === this.seq + 1, 'the log has no gaps');
    this.#ops.push(entry.op);
    const over = this.#ops.length - this.#max;
    if (over <= 0 || over < this.#max >> 2) return;
    this.#ops = this.#ops.slice(over);
    this.#base += over;
  }

  /** Whether all operations after `cursor` are here. */
  covers(cursor: number): boolean {
    return cursor >= this.#base && cursor <= this.seq;
  }

  /** The operations after `cursor`; it must be covered. */
  after(cursor: number): readonly NetmapOp[] {
    assert(this.covers(cursor), 'the cursor is in the log');
    return this.#ops.slice(cursor - this.#base);
  }
}
