// What falls due when, one time for each key: a binary heap in which outdated entries are left lying until they come up or
// outnumber the others. The times are of one clock, whichever its owner keeps.

interface Entry<K> {
  readonly key: K;
  readonly at: number;
}

const STALE_MIN = 64;

export class Schedule<K> {
  readonly #times = new Map<K, number>();
  #heap: Entry<K>[] = [];

  get size(): number {
    return this.#times.size;
  }

  has(key: K): boolean {
    return this.#times.has(key);
  }

  /** Sets or moves the time of `key`. */
  set(key: K, at: number): void {
    if (this.#times.get(key) === at) return;
    this.#times.set(key, at);
    this.#push({ key, at });
    if (this.#heap.length > 2 * this.#times.size + STALE_MIN) this.#rebuild();
  }

  delete(key: K): void {
    this.#times.delete(key);
  }

  /** Infinity when there is none. */
  next(): number {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined) return Number.POSITIVE_INFINITY;
      if (this.#times.get(first.key) === first.at) return first.at;
      this.#pop();
    }
  }

  /** Keys whose time is not after `time`, earliest first; they are forgotten. */
  takeDue(time: number): K[] {
    const due: K[] = [];
    while (this.next() <= time) {
      const { key } = this.#pop();
      this.#times.delete(key);
      due.push(key);
    }
    return due;
  }

  #rebuild(): void {
    this.#heap = Array.from(this.#times, ([key, at]) => ({ key, at })).sort((a, b) => a.at - b.at);
  }

  #push(entry: Entry<K>): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as Entry<K>;
      if (above.at <= entry.at) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): Entry<K> {
    const heap = this.#heap;
    const first = heap[0] as Entry<K>;
    const last = heap.pop() as Entry<K>;
    if (heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && right.at < (heap[child] as Entry<K>).at) child++;
      const below = heap[child] as Entry<K>;
      if (below.at >= last.at) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}
