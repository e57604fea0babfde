// Asking STUN servers where we are seen from (RFC 8489 §6): requests, repetitions, answers, without a socket. The host sends what
// `send` gives from the socket whose mapping is wanted, hands over what comes, and calls `handleDeadline`. Every request
// is as large as the largest answer (REQUEST_BYTES), so that no server needs to send more than it received.
//
// Departures from §6.2.1: the first RTO is 250 ms, and a repetition has a transaction id of its own, different in the last byte,
// so that the round trip of whichever is answered is exact. Leaves out servers by name, TCP and passwords.

import { after, earliest, elapsedMs, type Instant, NEVER } from '../../base/instant.ts';
import { addressBytes, type Endpoint, endpointParts } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import { type ChangeRequest, decodeStun, encodeRequest, type StunFault, type StunMessage } from './message.ts';
import { STUN_HEADER_BYTES, TRANSACTION_ID_BYTES } from './numbers.ts';

/** Of a request: what the largest answer has, four addresses of IPv6 and FINGERPRINT (124), and some. */
export const REQUEST_BYTES = 128;
/** Until the first repetition; doubled each time. */
export const RTO_MS = 250;
/** At 0, 250, 750 and 1,750 ms; given up at 3,750. */
export const SENDS_MAX = 4;
/** At once. */
export const TRANSACTIONS_MAX = 32;

export type StunFailure =
  | 'timeout'
  | 'unsendable' // none of the requests could be sent
  | 'refused' // `code` says why
  | 'unusable'; // an answer without an address that we could have, or with what we would have to understand

interface ResultOf {
  /** As `ask` gave it. */
  readonly transaction: number;
  readonly server: Endpoint;
}

export type StunResult =
  | (ResultOf & {
      readonly kind: 'reflexive';
      /** Where the server saw the request come from. */
      readonly reflexive: Endpoint;
      readonly rttMs: number;
      /** The server's other address and port (RFC 5780), or null. */
      readonly other: Endpoint | null;
    })
  | (ResultOf & { readonly kind: 'failed'; readonly reason: StunFailure; readonly code: number | null });

/** What the client gives rise to, within its calls. */
export interface StunClientOutputs {
  /** False when it could not be sent now; it is tried again. `datagram` is borrowed. */
  send(to: Endpoint, datagram: Uint8Array): boolean;
  /** Once for each transaction that was not cancelled. May call back into the client. */
  result(result: StunResult): void;
}

export interface StunClientOptions {
  readonly random: RandomSource;
  readonly outputs: StunClientOutputs;
}

export interface AskOptions {
  readonly change?: ChangeRequest;
  /** Where the answer has to come from, when the server is asked to change that. */
  readonly answerFrom?: Endpoint;
}

/** `result`: it ended a transaction. `unmatched`: STUN, and none of ours: late, a peer's indication, or invented. */
export type StunVerdict = 'result' | 'unmatched' | StunFault;

interface Transaction {
  readonly number: number;
  readonly server: Endpoint;
  readonly answerFrom: Endpoint;
  /** The request; its id's last byte changes with each sending. */
  readonly request: Uint8Array;
  readonly lastByte: number;
  /** When each was sent, at most SENDS_MAX. */
  readonly sentAt: Instant[];
  reached: boolean;
  dueAt: Instant;
}

const LAST_BYTE = STUN_HEADER_BYTES - 1;

export class StunClient {
  readonly #random: RandomSource;
  readonly #outputs: StunClientOutputs;
  readonly #transactions: Transaction[] = [];
  #number = 0;

  constructor(options: StunClientOptions) {
    this.#random = options.random;
    this.#outputs = options.outputs;
  }

  /** How many transactions are open. */
  get size(): number {
    return this.#transactions.length;
  }

  /** Begins a transaction, and gives its number; null when there are TRANSACTIONS_MAX. */
  ask(server: Endpoint, now: Instant, options: AskOptions = {}): number | null {
    if (this.#transactions.length >= TRANSACTIONS_MAX) return null;
    const id = new Uint8Array(TRANSACTION_ID_BYTES);
    this.#random(id);
    const request = encodeRequest(id, { change: options.change ?? null, bytes: REQUEST_BYTES });
    const transaction: Transaction = {
      number: ++this.#number,
      server,
      answerFrom: options.answerFrom ?? server,
      request,
      lastByte: request[LAST_BYTE] as number,
      sentAt: [],
      reached: false,
      dueAt: now,
    };
    this.#transactions.push(transaction);
    this.#send(transaction, now);
    return transaction.number;
  }

  /** Ends a transaction without a result; does nothing when it has ended. */
  cancel(number: number): void {
    const at = this.#transactions.findIndex((transaction) => transaction.number === number);
    if (at >= 0) this.#transactions.splice(at, 1);
  }

  cancelAll(): void {
    this.#transactions.length = 0;
  }

  nextDeadline(): Instant {
    let next = NEVER;
    for (const { dueAt } of this.#transactions) next = earliest(next, dueAt);
    return next;
  }

  handleDeadline(now: Instant): void {
    // A result may begin or cancel others.
    for (const transaction of [...this.#transactions]) {
      if (transaction.dueAt > now || !this.#transactions.includes(transaction)) continue;
      if (transaction.sentAt.length < SENDS_MAX) this.#send(transaction, now);
      else this.#fail(transaction, transaction.reached ? 'timeout' : 'unsendable');
    }
  }

  /** `datagram`: borrowed. Counts only what has the id of a request and comes from where that was to be answered. */
  handleDatagram(datagram: Uint8Array, source: Endpoint, now: Instant): StunVerdict {
    const message = decodeStun(datagram);
    if (typeof message === 'string') return message;
    if (message.kind !== 'success' && message.kind !== 'error') return 'unmatched';
    for (const transaction of this.#transactions) {
      const sentAt = sendingOf(transaction, message.transactionId);
      if (sentAt === null || transaction.answerFrom !== source) continue;
      this.#answered(transaction, message, elapsedMs(sentAt, now));
      return 'result';
    }
    return 'unmatched';
  }

  #answered(transaction: Transaction, message: StunMessage, rttMs: number): void {
    if (message.kind === 'error') {
      this.#fail(transaction, 'refused', message.code);
      return;
    }
    const reflexive = message.kind === 'success' ? (message.xorMapped ?? message.mapped) : null;
    if (message.kind !== 'success' || message.unknownRequired.length > 0 || !isOneThatWeCouldHave(reflexive)) {
      this.#fail(transaction, 'unusable');
      return;
    }
    const { number, server } = transaction;
    this.cancel(number);
    this.#outputs.result({ kind: 'reflexive', transaction: number, server, reflexive, rttMs, other: message.other });
  }

  #fail(transaction: Transaction, reason: StunFailure, code: number | null = null): void {
    const { number, server } = transaction;
    this.cancel(number);
    this.#outputs.result({ kind: 'failed', transaction: number, server, reason, code });
  }

  #send(transaction: Transaction, now: Instant): void {
    const { request, sentAt } = transaction;
    request[LAST_BYTE] = transaction.lastByte ^ sentAt.length;
    transaction.dueAt = after(now, RTO_MS << sentAt.length);
    sentAt.push(now);
    if (this.#outputs.send(transaction.server, request)) transaction.reached = true;
  }
}

/** When the request with this id was sent; null when it is none of the transaction's. */
function sendingOf(transaction: Transaction, id: Uint8Array): Instant | null {
  const first = STUN_HEADER_BYTES - TRANSACTION_ID_BYTES;
  for (let i = 0; i < TRANSACTION_ID_BYTES - 1; i++) {
    if (id[i] !== transaction.request[first + i]) return null;
  }
  return transaction.sentAt[(id[TRANSACTION_ID_BYTES - 1] as number) ^ transaction.lastByte] ?? null;
}

/**
 * A server may say anything: never the unspecified address, a multicast or reserved one, nor one of 100::/64, where
 * endpoints of relayed paths are (base/relayed.ts).
 */
function isOneThatWeCouldHave(endpoint: Endpoint | null): endpoint is Endpoint {
  if (endpoint === null) return false;
  const bytes = addressBytes(endpointParts(endpoint).address);
  const first = bytes[0] as number;
  if (bytes.length === 4) return first !== 0 && first < 224;
  const discard = first === 1 && bytes.subarray(1, 8).every((byte) => byte === 0);
  return first !== 255 && !discard && bytes.some((byte) => byte !== 0);
}
