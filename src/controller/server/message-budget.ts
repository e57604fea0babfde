// How much one node may say: messages and bytes, each a bucket that fills again with time. Tells how long to wait before
// the next is read; what waits is in the node's own socket, and then in the node.

import type { Instant } from '../../base/instant.ts';
import type { ServerLimits } from './limits.ts';

export class MessageBudget {
  readonly #limits: ServerLimits;
  #messages: number;
  #bytes: number;
  #filledAt: Instant;

  constructor(limits: ServerLimits, now: Instant) {
    this.#limits = limits;
    this.#messages = limits.messagesBurst;
    this.#bytes = limits.bytesBurst;
    this.#filledAt = now;
  }

  /** Milliseconds until there is room for more; 0 = now. */
  spend(bytes: number, now: Instant): number {
    const { messagesBurst, messagesPerSecond, bytesBurst, bytesPerSecond } = this.#limits;
    const seconds = Math.max(0, now - this.#filledAt) / 1000;
    this.#filledAt = now;
    this.#messages = Math.min(messagesBurst, this.#messages + seconds * messagesPerSecond) - 1;
    this.#bytes = Math.min(bytesBurst, this.#bytes + seconds * bytesPerSecond) - bytes;
    const wait = Math.max(-this.#messages / messagesPerSecond, -this.#bytes / bytesPerSecond, 0);
    return Math.ceil(wait * 1000);
  }
}
