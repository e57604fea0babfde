// Cryptokey routing (WireGuard paper §2): which peer owns an address, by longest prefix, for IPv4 and IPv6. The engine's
// truth, from which the data plane is fed, and the reference plane's look-up. A path-compressed binary trie whose nodes
// are columns of typed arrays, because 100,000 peers have 100,000 prefixes. An owner's prefixes form a ring through the
// nodes, in insertion order. Which prefixes a peer may have is decided elsewhere.

import { writeU32be } from '../base/bytes.ts';
import { formatPrefix, type IpPrefix, prefixParts } from '../base/ip.ts';

/** No node, and no owner: number 0 is never given out. */
const NONE = 0;

/** Nodes of one family. A node without an owner is a fork that path compression needs. */
class Trie<T> {
  readonly #words: number;
  readonly #owners: OwnerTable<T>;
  readonly #address = new Uint32Array(4);
  #root = NONE;
  #free = NONE;
  #used = 1;
  #keys: Uint32Array<ArrayBuffer>;
  #lengths: Uint8Array<ArrayBuffer>;
  #children: Uint32Array<ArrayBuffer>;
  #owner: Uint32Array<ArrayBuffer>;
  #next: Uint32Array<ArrayBuffer>;
  #previous: Uint32Array<ArrayBuffer>;

  constructor(words: 1 | 4, owners: OwnerTable<T>) {
    const capacity = 16;
    this.#words = words;
    this.#owners = owners;
    this.#keys = new Uint32Array(capacity * words);
    this.#lengths = new Uint8Array(capacity);
    this.#children = new Uint32Array(capacity * 2);
    this.#owner = new Uint32Array(capacity);
    this.#next = new Uint32Array(capacity);
    this.#previous = new Uint32Array(capacity);
  }

  lookup(bytes: Uint8Array, offset: number): number {
    this.#load(bytes, offset);
    const bits = this.#words * 32;
    let best = NONE;
    for (let node = this.#root; node !== NONE; ) {
      const length = this.#lengths[node] as number;
      if (this.#commonBits(node, length) < length) break;
      const owner = this.#owner[node] as number;
      if (owner !== NONE) best = owner;
      if (length === bits) break;
      node = this.#children[2 * node + this.#addressBit(length)] as number;
    }
    return best;
  }

  /** Returns the previous owner's number. */
  insert(bytes: Uint8Array, length: number, owner: number): number {
    this.#load(bytes, 0);
    let parent = NONE;
    let node = this.#root;
    while (node !== NONE) {
      const nodeLength = this.#lengths[node] as number;
      const common = this.#commonBits(node, Math.min(nodeLength, length));
      if (common < nodeLength) break;
      if (nodeLength === length) return this.#own(node, owner);
      parent = node;
      node = this.#children[2 * node + this.#addressBit(nodeLength)] as number;
    }
    const fresh = this.#allocate(length);
    if (node === NONE) {
      this.#attach(parent, fresh);
    } else {
      const common = this.#commonBits(node, Math.min(this.#lengths[node] as number, length));
      if (common === length) {
        this.#attach(parent, fresh);
        this.#children[2 * fresh + this.#keyBit(node, length)] = node;
      } else {
        const fork = this.#allocate(common);
        this.#attach(parent, fork);
        const side = this.#addressBit(common);
        this.#children[2 * fork + side] = fresh;
        this.#children[2 * fork + 1 - side] = node;
      }
    }
    return this.#own(fresh, owner);
  }

  /** False, and nothing done, unless the prefix belongs to `owner`. */
  remove(bytes: Uint8Array, length: number, owner: number): boolean {
    this.#load(bytes, 0);
    return this.#removeLoaded(length, owner);
  }

  /** Returns how many there were. */
  removeAll(owner: number): number {
    let removed = 0;
    let node = this.#owners.head(owner, this.#words);
    while (node !== NONE) {
      for (let i = 0; i < this.#words; i++) this.#address[i] = this.#keys[node * this.#words + i] as number;
      this.#removeLoaded(this.#lengths[node] as number, owner);
      removed++;
      node = this.#owners.head(owner, this.#words);
    }
    return removed;
  }

  /** Appends the owner's prefixes to `out`. */
  listPrefixes(owner: number, out: IpPrefix[]): void {
    const head = this.#owners.head(owner, this.#words);
    if (head === NONE) return;
    const bytes = new Uint8Array(this.#words * 4);
    let node = head;
    do {
      for (let i = 0; i < this.#words; i++) writeU32be(bytes, 4 * i, this.#keys[node * this.#words + i] as number);
      out.push(formatPrefix(bytes, this.#lengths[node] as number));
      node = this.#next[node] as number;
    } while (node !== head);
  }

  // — the address that is being looked for —

  #load(bytes: Uint8Array, offset: number): void {
    for (let i = 0; i < this.#words; i++) {
      const at = offset + 4 * i;
      this.#address[i] =
        ((bytes[at] as number) << 24) |
        ((bytes[at + 1] as number) << 16) |
        ((bytes[at + 2] as number) << 8) |
        (bytes[at + 3] as number);
    }
  }

  #addressBit(bit: number): number {
    return ((this.#address[bit >> 5] as number) >>> (31 - (bit & 31))) & 1;
  }

  #keyBit(node: number, bit: number): number {
    return ((this.#keys[node * this.#words + (bit >> 5)] as number) >>> (31 - (bit & 31))) & 1;
  }

  /** How many of the first `limit` bits of the node's key and the address agree. */
  #commonBits(node: number, limit: number): number {
    const at = node * this.#words;
    for (let i = 0; 32 * i < limit; i++) {
      const different = (this.#keys[at + i] as number) ^ (this.#address[i] as number);
      if (different !== 0) return Math.min(limit, 32 * i + Math.clz32(different));
    }
    return limit;
  }

  // — nodes —

  /** A node with the loaded address as its key and no owner. */
  #allocate(length: number): number {
    let node = this.#free;
    if (node !== NONE) this.#free = this.#children[2 * node] as number;
    else {
      if (this.#used === this.#lengths.length) this.#grow();
      node = this.#used++;
    }
    this.#setKey(node);
    this.#lengths[node] = length;
    this.#children[2 * node] = NONE;
    this.#children[2 * node + 1] = NONE;
    this.#owner[node] = NONE;
    return node;
  }

  #setKey(node: number): void {
    for (let i = 0; i < this.#words; i++) this.#keys[node * this.#words + i] = this.#address[i] as number;
  }

  #grow(): void {
    const capacity = Math.ceil(this.#lengths.length * 1.25);
    this.#keys = grown(this.#keys, capacity * this.#words);
    this.#children = grown(this.#children, capacity * 2);
    this.#owner = grown(this.#owner, capacity);
    this.#next = grown(this.#next, capacity);
    this.#previous = grown(this.#previous, capacity);
    const lengths = new Uint8Array(capacity);
    lengths.set(this.#lengths);
    this.#lengths = lengths;
  }

  /** Puts `node` where the loaded address leads below `parent`. */
  #attach(parent: number, node: number): void {
    if (parent === NONE) this.#root = node;
    else this.#children[2 * parent + this.#addressBit(this.#lengths[parent] as number)] = node;
  }

  #removeLoaded(length: number, owner: number): boolean {
    let grandparent = NONE;
    let parent = NONE;
    let node = this.#root;
    while (node !== NONE) {
      const nodeLength = this.#lengths[node] as number;
      if (nodeLength > length || this.#commonBits(node, nodeLength) < nodeLength) return false;
      if (nodeLength === length) break;
      grandparent = parent;
      parent = node;
      node = this.#children[2 * node + this.#addressBit(nodeLength)] as number;
    }
    if (node === NONE || this.#owner[node] !== owner) return false;
    this.#disown(node);
    this.#contract(parent, node);
    if (parent !== NONE && this.#owner[parent] === NONE) this.#contract(grandparent, parent);
    return true;
  }

  /** Takes a node without an owner out of the trie unless it forks. */
  #contract(parent: number, node: number): void {
    const left = this.#children[2 * node] as number;
    const right = this.#children[2 * node + 1] as number;
    if (left !== NONE && right !== NONE) return;
    this.#attach(parent, left === NONE ? right : left);
    this.#children[2 * node] = this.#free;
    this.#free = node;
  }

  // — owners —

  #own(node: number, owner: number): number {
    const previous = this.#owner[node] as number;
    if (previous === owner) return previous;
    if (previous !== NONE) this.#disown(node);
    // A fork that gains an owner still has the longer key that it was made from.
    this.#setKey(node);
    this.#owner[node] = owner;
    const head = this.#owners.head(owner, this.#words);
    if (head === NONE) {
      this.#next[node] = node;
      this.#previous[node] = node;
      this.#owners.setHead(owner, this.#words, node);
    } else {
      const tail = this.#previous[head] as number;
      this.#next[tail] = node;
      this.#previous[node] = tail;
      this.#next[node] = head;
      this.#previous[head] = node;
    }
    return previous;
  }

  #disown(node: number): void {
    const owner = this.#owner[node] as number;
    const next = this.#next[node] as number;
    const previous = this.#previous[node] as number;
    this.#owner[node] = NONE;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    if (this.#owners.head(owner, this.#words) === node) {
      this.#owners.setHead(owner, this.#words, next === node ? NONE : next);
    }
  }
}

/** Numbers for owners, and where each one's ring of nodes begins in either trie. */
class OwnerTable<T> {
  readonly #numbers = new Map<T, number>();
  readonly #values: (T | undefined)[] = [undefined];
  readonly #free: number[] = [];
  #heads = new Uint32Array(32);

  find(owner: T): number {
    return this.#numbers.get(owner) ?? NONE;
  }

  value(number: number): T | undefined {
    return this.#values[number];
  }

  number(owner: T): number {
    const known = this.#numbers.get(owner);
    if (known !== undefined) return known;
    const number = this.#free.pop() ?? this.#values.length;
    this.#values[number] = owner;
    this.#numbers.set(owner, number);
    if (2 * number + 1 >= this.#heads.length) this.#heads = grown(this.#heads, Math.ceil(this.#heads.length * 1.25));
    return number;
  }

  /** Forgets an owner that has no prefix left, so that the table does not keep it alive. */
  settle(number: number): void {
    if (number === NONE || this.#heads[2 * number] !== NONE || this.#heads[2 * number + 1] !== NONE) return;
    this.#numbers.delete(this.#values[number] as T);
    this.#values[number] = undefined;
    this.#free.push(number);
  }

  head(number: number, words: number): number {
    return this.#heads[2 * number + (words === 1 ? 0 : 1)] as number;
  }

  setHead(number: number, words: number, node: number): void {
    this.#heads[2 * number + (words === 1 ? 0 : 1)] = node;
  }
}

function grown(from: Uint32Array, length: number): Uint32Array<ArrayBuffer> {
  const to = new Uint32Array(length);
  to.set(from);
  return to;
}

/** Prefix → owner. Owners are compared as Map keys are. */
export class AllowedIps<T extends NonNullable<unknown>> {
  readonly #owners = new OwnerTable<T>();
  readonly #ipv4 = new Trie<T>(1, this.#owners);
  readonly #ipv6 = new Trie<T>(4, this.#owners);
  #size = 0;

  /** Prefixes that have an owner. */
  get size(): number {
    return this.#size;
  }

  /** Gives the prefix to `owner`, taking it from whoever had it. Returns the previous owner, if any. */
  insert(prefix: IpPrefix, owner: T): T | undefined {
    const { bytes, length } = prefixParts(prefix);
    const number = this.#trie(bytes.length).insert(bytes, length, this.#owners.number(owner));
    if (number === NONE) {
      this.#size++;
      return undefined;
    }
    const previous = this.#owners.value(number);
    this.#owners.settle(number);
    return previous;
  }

  /** False, and nothing done, unless the prefix is this owner's. It does not go back to an earlier owner. */
  remove(prefix: IpPrefix, owner: T): boolean {
    const number = this.#owners.find(owner);
    if (number === NONE) return false;
    const { bytes, length } = prefixParts(prefix);
    if (!this.#trie(bytes.length).remove(bytes, length, number)) return false;
    this.#size--;
    this.#owners.settle(number);
    return true;
  }

  /** Returns how many prefixes the owner had. */
  removeAll(owner: T): number {
    const number = this.#owners.find(owner);
    if (number === NONE) return 0;
    const removed = this.#ipv4.removeAll(number) + this.#ipv6.removeAll(number);
    this.#size -= removed;
    this.#owners.settle(number);
    return removed;
  }

  /** The owner of the longest prefix that holds the address of `length` bytes at `offset`. */
  lookup(bytes: Uint8Array, offset: number, length: 4 | 16): T | undefined {
    return this.#owners.value(this.#trie(length).lookup(bytes, offset));
  }

  /** The owner's prefixes, IPv4 first, each family in the order of insertion. A list of its own. */
  prefixesOf(owner: T): IpPrefix[] {
    const number = this.#owners.find(owner);
    const prefixes: IpPrefix[] = [];
    if (number === NONE) return prefixes;
    this.#ipv4.listPrefixes(number, prefixes);
    this.#ipv6.listPrefixes(number, prefixes);
    return prefixes;
  }

  #trie(length: number): Trie<T> {
    return length === 4 ? this.#ipv4 : this.#ipv6;
  }
}
