// A table of the state: a Map, or an overlay that shows a Map with changes of its own and leaves it alone. What is decided
// is first applied to overlays, so that a batch that fails leaves nothing behind.

export interface Table<K, V> {
  readonly size: number;
  get(key: K): V | undefined;
  set(key: K, value: V): unknown;
  delete(key: K): unknown;
}

export class Overlay<K, V> implements Table<K, V> {
  readonly #base: Table<K, V>;
  /** Undefined: deleted here. */
  readonly #own = new Map<K, V | undefined>();
  #size: number;

  constructor(base: Table<K, V>) {
    this.#base = base;
    this.#size = base.size;
  }

  get size(): number {
    return this.#size;
  }

  get(key: K): V | undefined {
    const own = this.#own.get(key);
    return own !== undefined || this.#own.has(key) ? own : this.#base.get(key);
  }

  set(key: K, value: V): void {
    if (this.get(key) === undefined) this.#size++;
    this.#own.set(key, value);
  }

  delete(key: K): void {
    if (this.get(key) !== undefined) this.#size--;
    this.#own.set(key, undefined);
  }
}
