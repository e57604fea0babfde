// The engine's only clockwork: an indexed binary heap of owners by their earliest deadline. An owner without a deadline
// is not in the heap, so idle peers cost nothing here; moving a deadline is O(log n) and allocates nothing.

import { type Instant, NEVER } from '../base/instant.ts';

/** What can stand in the heap. Both fields belong to the heap; `heapIndex` starts as −1, `dueAt` as NEVER. */
export interface Scheduled {
  heapIndex: number;
  dueAt: Instant;
}

export class Deadlines<T extends Scheduled> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The earliest deadline of all, or NEVER. */
  next(): Instant {
    return this.#heap[0]?.dueAt ?? NEVER;
  }

  /** The owner whose deadline is earliest if that is not after `now`; it stays in the heap until it is scheduled anew. */
  due(now: Instant): T | undefined {
    const first = this.#heap[0];
    return first !== undefined && first.dueAt <= now ? first : undefined;
  }

  /** Sets, moves or (with NEVER) removes the deadline of `owner`. */
  schedule(owner: T, at: Instant): void {
    if (at === NEVER) {
      this.remove(owner);
      return;
    }
    if (owner.heapIndex < 0) {
      owner.dueAt = at;
      owner.heapIndex = this.#heap.length;
      this.#heap.push(owner);
      this.#up(owner.heapIndex);
      return;
    }
    const before = owner.dueAt;
    owner.dueAt = at;
    if (at < before) this.#up(owner.heapIndex);
    else if (at > before) this.#down(owner.heapIndex);
  }

  remove(owner: T): void {
    const index = owner.heapIndex;
    if (index < 0) return;
    owner.heapIndex = -1;
    owner.dueAt = NEVER;
    const last = this.#heap.pop() as T;
    if (last === owner) return;
    this.#heap[index] = last;
    last.heapIndex = index;
    this.#up(index);
    this.#down(last.heapIndex);
  }

  #up(start: number): void {
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.#at(parent).dueAt <= this.#at(index).dueAt) return;
      this.#swap(parent, index);
      index = parent;
    }
  }

  #down(start: number): void {
    let index = start;
    for (;;) {
      const left = 2 * index + 1;
      if (left >= this.#heap.length) return;
      const right = left + 1;
      const child = right < this.#heap.length && this.#at(right).dueAt < this.#at(left).dueAt ? right : left;
      if (this.#at(index).dueAt <= this.#at(child).dueAt) return;
      this.#swap(index, child);
      index = child;
    }
  }

  #at(index: number): T {
    return this.#heap[index] as T;
  }

  #swap(a: number, b: number): void {
    const first = this.#at(a);
    const second = this.#at(b);
    this.#heap[a] = second;
    this.#heap[b] = first;
    second.heapIndex = a;
    first.heapIndex = b;
  }
}
