// What a STUN server answers (RFC 8489 §6.3, RFC 5780 §6.1), decided without a socket. To a question that is as large as the answer
// (our own are) it costs nothing; a smaller one, as stock clients send it, gets the least that helps, within AnswerBudget. Never
// SOFTWARE, a phrase or PADDING, which would only make an answer larger. Leaves out passwords and TCP.
//
// A server of RFC 5780 has two addresses with two ports each. Its four sockets are its doors:
//
//   0: address, port      1: address, other port      2: other address, port      3: other address, other port

import type { Instant } from '../../base/instant.ts';
import { addressBytes, type Endpoint, endpointParts } from '../../base/ip.ts';
import type { AnswerBudget } from './answer-budget.ts';
import {
  addressAttributeBytes,
  type BindingRequest,
  type ChangeRequest,
  decodeStun,
  encodeError,
  encodeSuccess,
  STUN_FAULTS,
  type StunFault,
  UNKNOWN_ATTRIBUTES_MAX,
} from './message.ts';
import { Attribute, ErrorCode } from './numbers.ts';

export type Door = 0 | 1 | 2 | 3;
const OTHER_PORT = 1;
const OTHER_ADDRESS = 2;

export interface StunAnswer {
  readonly datagram: Uint8Array;
  /** Where it leaves. */
  readonly door: Door;
  /** Where it goes, at the address that asked. */
  readonly port: number;
}

/** What became of datagrams. */
export type StunCounters = Record<StunEvent, number>;
export type StunEvent =
  | 'answered'
  | 'refused' // with an error, because something in it is not known here
  | 'networkLimited' // smaller than its answer, and the network it came from has had its share
  | 'totalLimited' // the same of all networks together
  | 'notRequest' // an indication, or an answer: nobody answers those
  | StunFault;

export function newStunCounters(): StunCounters {
  const counters = { answered: 0, refused: 0, networkLimited: 0, totalLimited: 0, notRequest: 0 };
  return { ...counters, ...(Object.fromEntries(STUN_FAULTS.map((fault) => [fault, 0])) as Record<StunFault, number>) };
}

export interface ResponderOptions {
  /** The four doors by number, for RFC 5780; null = a plain server: it answers where it was asked. */
  readonly doors: readonly [Endpoint, Endpoint, Endpoint, Endpoint] | null;
  readonly budget: AnswerBudget;
  readonly counters: StunCounters;
}

export class StunResponder {
  readonly #options: ResponderOptions;

  constructor(options: ResponderOptions) {
    this.#options = options;
  }

  /** `datagram`: borrowed. `source`: without a zone. Null: no answer, and counted why. */
  answer(datagram: Uint8Array, source: Endpoint, door: Door, now: Instant): StunAnswer | null {
    const { budget, counters } = this.#options;
    const request = decodeStun(datagram);
    if (typeof request === 'string') {
      counters[request]++;
      return null;
    }
    if (request.kind !== 'request') {
      counters.notRequest++;
      return null;
    }
    const unknown = this.#unknownIn(request);
    const refused = unknown.length > 0;
    const leaves = refused ? door : doorOf(door, request.change);
    const { address, port } = endpointParts(source);
    const answer = refused
      ? encodeError(request.transactionId, {
          code: ErrorCode.unknownAttribute,
          unknownAttributes: unknown,
          fingerprint: request.fingerprint,
        })
      : this.#success(request, datagram.length, source, door, leaves);
    if (answer.length > datagram.length) {
      const verdict = budget.take(addressBytes(address), now);
      if (verdict !== 'paid') {
        counters[verdict === 'networkSpent' ? 'networkLimited' : 'totalLimited']++;
        return null;
      }
    }
    counters[refused ? 'refused' : 'answered']++;
    return { datagram: answer, door: leaves, port: refused ? port : (request.responsePort ?? port) };
  }

  /** A plain server knows neither CHANGE-REQUEST nor RESPONSE-PORT (RFC 5780 §6.1). */
  #unknownIn({ unknownRequired, change, responsePort }: BindingRequest): readonly number[] {
    if (this.#options.doors !== null || (change === null && responsePort === null)) return unknownRequired;
    const unknown = [...unknownRequired];
    if (change !== null) unknown.push(Attribute.changeRequest);
    if (responsePort !== null) unknown.push(Attribute.responsePort);
    return unknown.slice(0, UNKNOWN_ATTRIBUTES_MAX);
  }

  /** MAPPED-ADDRESS, by which a client of RFC 5780 sees whether a NAT rewrites addresses, only where there is room for it. */
  #success(request: BindingRequest, room: number, source: Endpoint, door: Door, leaves: Door): Uint8Array {
    const { doors } = this.#options;
    const { transactionId, fingerprint } = request;
    if (doors === null) return encodeSuccess(transactionId, { xorMapped: source, fingerprint });
    const origin = doors[leaves];
    const other = doors[(door ^ (OTHER_ADDRESS | OTHER_PORT)) as Door];
    const fields = { xorMapped: source, origin, other, fingerprint };
    const least = encodeSuccess(transactionId, fields);
    if (least.length + addressAttributeBytes(source) > room) return least;
    return encodeSuccess(transactionId, { ...fields, mapped: source });
  }
}

function doorOf(door: Door, change: ChangeRequest | null): Door {
  if (change === null) return door;
  return (door ^ (change.address ? OTHER_ADDRESS : 0) ^ (change.port ? OTHER_PORT : 0)) as Door;
}
