// Writes descriptors in the layout of dataplane.ts (DESCRIPTOR_WORDS): what a poll gave, as words that JavaScript reads
// without a call. Words that have no meaning for a kind are 0.

import type { Instant } from '../../base/instant.ts';
import { addressBytes, type Endpoint, endpointParts, familyOf } from '../../base/ip.ts';
import { DESCRIPTOR_WORDS } from '../dataplane.ts';

export interface Descriptor {
  readonly kind: number;
  /** A slot, or NO_PEER. */
  readonly peer: number;
  readonly source: Endpoint | null;
  readonly time: Instant;
  readonly value: number;
  readonly value2: number;
  readonly offset: number;
  readonly length: number;
  readonly handle: number;
}

export class DescriptorTable {
  readonly words: Uint32Array<ArrayBuffer>;
  readonly times: Float64Array<ArrayBuffer>;
  readonly #bytes: Uint8Array<ArrayBuffer>;

  constructor(descriptorsMax: number) {
    this.words = new Uint32Array(descriptorsMax * DESCRIPTOR_WORDS);
    this.times = new Float64Array(this.words.buffer);
    this.#bytes = new Uint8Array(this.words.buffer);
  }

  write(at: number, descriptor: Descriptor): void {
    const first = at * DESCRIPTOR_WORDS;
    this.words.fill(0, first, first + DESCRIPTOR_WORDS);
    this.words[first] = descriptor.kind;
    this.words[first + 1] = descriptor.peer;
    this.words[first + 2] = descriptor.offset;
    this.words[first + 3] = descriptor.length;
    if (descriptor.source !== null) {
      const { address, port, scopeId } = endpointParts(descriptor.source);
      this.words[first + 4] = familyOf(address);
      this.words[first + 5] = port;
      this.words[first + 6] = scopeId;
      this.#bytes.set(addressBytes(address), (first + 8) * 4);
    }
    this.words[first + 7] = descriptor.handle;
    this.words[first + 12] = descriptor.value;
    this.words[first + 13] = descriptor.value2;
    this.times[(first + 14) / 2] = descriptor.time;
  }
}
