// A change of the node's key, as the control client sees it. The next key is on disk before the controller hears of it, and
// the present one is kept until it is certain that the controller has the next: by its word, or because a connection with it
// was welcomed. So a crash or a lost connection at any moment leaves a key that lets us in.

import type { PublicKeyText } from '../protocol/values.ts';

/** Which of the node's keys a connection proves: `next` while a rotation may have reached the controller or not. */
export type ConnectionKey = 'current' | 'next';

export interface RotationOutputs {
  persistNextKey(publicKey: PublicKeyText): void;
  keySwitched(publicKey: PublicKeyText): void;
  nextKeyRefused(publicKey: PublicKeyText, message: string): void;
}

export class KeyRotation {
  readonly #outputs: RotationOutputs;
  #next: PublicKeyText | null = null;
  #persisted = false;
  /** What the next connection proves. */
  #key: ConnectionKey = 'current';

  constructor(outputs: RotationOutputs) {
    this.#outputs = outputs;
  }

  get key(): ConnectionKey {
    return this.#key;
  }

  /** The controller may have the next key, or not. */
  get open(): boolean {
    return this.#next !== null && this.#persisted;
  }

  /** What the controller is to be asked for over a connection with the current key. */
  get toAsk(): PublicKeyText | null {
    return this.open && this.#key === 'current' ? this.#next : null;
  }

  /** `next`: persisted earlier, with unknown success. */
  start(next: PublicKeyText | null): void {
    this.#next = next;
    this.#persisted = next !== null;
    this.#key = 'current';
  }

  begin(publicKey: PublicKeyText): boolean {
    if (this.#next !== null) return false;
    this.#next = publicKey;
    this.#persisted = false;
    this.#outputs.persistNextKey(publicKey);
    return true;
  }

  /** False when it is not the one that was waited for. */
  persisted(publicKey: PublicKeyText): boolean {
    if (this.#next !== publicKey || this.#persisted) return false;
    this.#persisted = true;
    return true;
  }

  rotated(publicKey: PublicKeyText): void {
    if (this.#next === publicKey) this.#switch(publicKey);
  }

  /** A connection with `key` is welcome. */
  welcomed(): void {
    if (this.#key === 'next' && this.#next !== null) this.#switch(this.#next);
  }

  #switch(publicKey: PublicKeyText): void {
    this.#next = null;
    this.#persisted = false;
    this.#key = 'current';
    this.#outputs.keySwitched(publicKey);
  }

  /** The controller will not have the next key. */
  refused(message: string): void {
    const next = this.#next;
    if (next === null) return;
    this.start(null);
    this.#outputs.nextKeyRefused(next, message);
  }

  /**
   * The key of this connection is unknown to the controller. True: connect again, with the other key, or with none left
   * but an auth key (`mayJoin`).
   */
  tryOther(message: string, mayJoin: boolean): boolean {
    if (!this.open) return false;
    if (this.#key === 'current') {
      this.#key = 'next';
      return true;
    }
    this.refused(message);
    return mayJoin;
  }
}
