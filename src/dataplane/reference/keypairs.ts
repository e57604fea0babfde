// The three keypairs of a peer and how they take each other's place (paper §6; checklist 13–16). Says what was displaced;
// wiping it and freeing its index is the caller's.

import { assert } from '../../base/assert.ts';
import type { Instant } from '../../base/instant.ts';
import { ReplayWindow } from '../../wireguard/replay-window.ts';
import type { KeypairConfig, LocalIndex } from '../dataplane.ts';

export interface Keypair {
  readonly localIndex: LocalIndex;
  readonly remoteIndex: number;
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
  readonly rejectAt: Instant;
  readonly rekeyOnSendAt: Instant;
  readonly rekeyOnReceiveAt: Instant;
  readonly rekeyAfterMessages: bigint;
  readonly rejectAfterMessages: bigint;
  readonly replay: ReplayWindow;
  sendCounter: bigint;
  /** Set by `expireSending`: our static key has changed. */
  receiveOnly: boolean;
}

export function keypairFrom(config: KeypairConfig): Keypair {
  assert(config.sendKey.length === 32 && config.receiveKey.length === 32, 'session keys have 32 bytes');
  return {
    localIndex: config.localIndex,
    remoteIndex: config.remoteIndex,
    sendKey: config.sendKey.slice(),
    receiveKey: config.receiveKey.slice(),
    rejectAt: config.rejectAt,
    rekeyOnSendAt: config.rekeyOnSendAt,
    rekeyOnReceiveAt: config.rekeyOnReceiveAt,
    rekeyAfterMessages: config.rekeyAfterMessages,
    rejectAfterMessages: config.rejectAfterMessages,
    replay: new ReplayWindow(),
    sendCounter: config.firstSendCounter ?? 0n,
    receiveOnly: false,
  };
}

export function maySend(keypair: Keypair | null, now: Instant): keypair is Keypair {
  return (
    keypair !== null &&
    !keypair.receiveOnly &&
    now < keypair.rejectAt &&
    keypair.sendCounter < keypair.rejectAfterMessages
  );
}

export class Keypairs {
  previous: Keypair | null = null;
  current: Keypair | null = null;
  next: Keypair | null = null;

  /** The initiator knows that both sides have the keys: it sends with them at once. Returns what was displaced. */
  installAsInitiator(keypair: Keypair): Keypair[] {
    const displaced = [this.previous];
    if (this.next === null) {
      this.previous = this.current;
    } else {
      // The other side has begun a session too and may be sending with it already.
      displaced.push(this.current);
      this.previous = this.next;
      this.next = null;
    }
    this.current = keypair;
    return displaced.filter((old) => old !== null);
  }

  /** The responder waits in `next` for proof that the initiator has the keys. Returns what was displaced. */
  installAsResponder(keypair: Keypair): Keypair[] {
    const displaced = [this.previous, this.next];
    this.previous = null;
    this.next = keypair;
    return displaced.filter((old) => old !== null);
  }

  /** `next` has received its first packet. Returns what was displaced. */
  confirmNext(): Keypair[] {
    const displaced = [this.previous];
    this.previous = this.current;
    this.current = this.next;
    this.next = null;
    return displaced.filter((old) => old !== null);
  }

  /** Returns all of them. */
  clear(): Keypair[] {
    const displaced = [this.previous, this.current, this.next];
    this.previous = null;
    this.current = null;
    this.next = null;
    return displaced.filter((old) => old !== null);
  }
}
