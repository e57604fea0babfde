// The simulation's only order of things: a heap of events by (time, sequence number), so that events of one instant run
// in the order in which they were made, on every machine and in every run.

import type { Instant } from '../base/instant.ts';

interface Event {
  readonly at: Instant;
  readonly sequence: number;
  readonly run: () => void;
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}

export class EventQueue {
  readonly #heap: Event[] = [];
  #sequence = 0;

  get size(): number {
    return this.#heap.length;
  }

  nextAt(): Instant | null {
    return this.#heap[0]?.at ?? null;
  }

  add(at: Instant, run: () => void): void {
    const heap = this.#heap;
    let index = heap.length;
    const event = { at, sequence: this.#sequence++, run };
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Event;
      if (!before(event, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  /** Takes the earliest event; undefined when there is none. */
  take(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event)) child++;
      if (!before(heap[child] as Event, last)) break;
      heap[index] = heap[child] as Event;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}
