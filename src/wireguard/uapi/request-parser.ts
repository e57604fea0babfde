// The requests of one control-socket connection, fed in pieces of any size: `get=1` or `set=1`, `key=value` lines, an empty
// line (https://www.wireguard.com/xplatform/). Each request gives one reply; after an error the rest of it is skipped. Holds
// one unfinished line at most. Writing replies is the caller's: after `get`, formatStatus.

import type { Instant } from '../../base/instant.ts';
import type { UapiDevice } from './device.ts';
import type { UapiOperation } from './errno.ts';
import { LINE_LENGTH_MAX, LineReader } from './line-reader.ts';
import { type Refusal, type SetEnvironment, SetRequest } from './set-request.ts';
import { shown, text } from './values.ts';

const EQUALS = 61;

/** What a complete request asks to be answered; no refusal means errno=0. */
export interface UapiReply {
  readonly operation: UapiOperation;
  readonly refusal: Refusal | null;
}

type State = 'operation' | 'get' | 'set' | 'skip';

export class RequestParser<P> {
  readonly #lines = new LineReader();
  readonly #set: SetRequest<P>;
  #state: State = 'operation';
  #operation: UapiOperation = 'unknown';
  #refusal: Refusal | null = null;
  #lineNumber = 0;
  #reply: UapiReply | null = null;

  constructor(device: UapiDevice<P>, environment: SetEnvironment) {
    this.#set = new SetRequest(device, environment);
  }

  /** Whether a request has begun and is not complete. */
  get midRequest(): boolean {
    return this.#state !== 'operation' || this.#lines.unfinished;
  }

  /**
   * Takes bytes from `at` on, until a request is complete or they are used up, and gives back the offset behind what it took.
   * The bytes are borrowed. Call `takeReply` after it.
   */
  feed(bytes: Uint8Array, at: number, now: Instant): number {
    if (this.#state === 'set') this.#set.resume();
    let offset = at;
    while (offset < bytes.length && this.#reply === null) {
      const next = this.#lines.next(bytes, offset);
      if (next < 0) return bytes.length;
      offset = next;
      this.#line(now);
      this.#lines.done();
    }
    return offset;
  }

  /** The client will send no more. A `set` that ends between two lines is complete; anything cut short is not. */
  end(now: Instant): void {
    if (!this.midRequest || this.#reply !== null) return;
    if (this.#state === 'set') this.#set.resume();
    if (this.#lines.unfinished || this.#state === 'get')
      this.#refuse('EPROTO', '', 'the request ends in its middle', now);
    this.#lines.done();
    this.#complete(now);
  }

  /** The reply to the request that is complete, once; null when none is. */
  takeReply(): UapiReply | null {
    const reply = this.#reply;
    this.#reply = null;
    return reply;
  }

  #line(now: Instant): void {
    this.#lineNumber++;
    if (this.#lines.overlong) {
      this.#refuse('EPROTO', '', `a line is longer than ${LINE_LENGTH_MAX} bytes`, now);
      return;
    }
    const { line } = this.#lines;
    switch (this.#state) {
      case 'operation':
        this.#begin(line, now);
        break;
      case 'get':
        if (line.length === 0) this.#complete(now);
        else this.#refuse('EINVAL', keyOf(line), 'a get request has no keys', now);
        break;
      case 'set':
        if (line.length === 0) this.#complete(now);
        else this.#apply(line, now);
        break;
      case 'skip':
        if (line.length === 0) this.#complete(now);
        break;
    }
  }

  #begin(line: Uint8Array, now: Instant): void {
    const operation = text(line);
    if (operation === 'get=1' || operation === 'set=1') {
      this.#operation = operation === 'get=1' ? 'get' : 'set';
      this.#state = this.#operation;
      return;
    }
    this.#refuse('EPROTO', keyOf(line), 'not an operation: get=1 and set=1 are', now);
    if (line.length === 0) this.#complete(now);
  }

  #apply(line: Uint8Array, now: Instant): void {
    const equals = line.indexOf(EQUALS);
    if (equals < 0) {
      this.#refuse('EPROTO', '', 'a line is not key=value', now);
      return;
    }
    const key = text(line.subarray(0, equals));
    const fault = this.#set.apply(key, line.subarray(equals + 1), now);
    if (fault !== null) this.#refuse(fault.errno, shown(key), fault.reason, now);
  }

  /** The first fault of a request counts; the rest of it is skipped. */
  #refuse(errno: string, key: string, reason: string, now: Instant): void {
    if (this.#state !== 'skip') {
      this.#refusal = { errno, key, reason, line: this.#lineNumber, peer: this.#set.selectedPeer };
      if (this.#state === 'set') this.#set.abandon(now);
    }
    this.#state = 'skip';
  }

  #complete(now: Instant): void {
    if (this.#state === 'set') this.#set.finish(now);
    this.#reply = { operation: this.#operation, refusal: this.#refusal };
    this.#state = 'operation';
    this.#operation = 'unknown';
    this.#refusal = null;
    this.#lineNumber = 0;
  }
}

/** The key of a line, for a log line; nothing of a line without one, which might be part of a secret. */
function keyOf(line: Uint8Array): string {
  const equals = line.indexOf(EQUALS);
  return equals < 0 ? '' : shown(text(line.subarray(0, equals)));
}
