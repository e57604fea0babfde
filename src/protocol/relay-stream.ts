// Datagrams to and from a relay where UDP is blocked: binary messages of a WebSocket at RELAY_PATH below the URL that the relay tells
// (reach.url). A message is a sequence of datagrams, each headed by its length. Nothing is acknowledged or kept: it is UDP
// still, and whatever proves who speaks is inside the datagrams.
//
//        0                2                                2 + length
//   ... | length (BE)    | datagram                        | length (BE) | ...

import { readU16be, writeU16be } from '../base/bytes.ts';

export const RELAY_PATH = '/v1/relay';
/** Of one message; every datagram of UDP fits. */
export const STREAM_MESSAGE_BYTES_MAX = 65_536;
/** The shortest that a relay has a use for is a keepalive; shorter ones would make one message thousands of datagrams. */
export const STREAM_DATAGRAM_BYTES_MIN = 32;
const LENGTH_BYTES = 2;
/** Of UDP over IPv4. */
export const STREAM_DATAGRAM_BYTES_MAX = 65_507;

/** Views of `message`, in order. Null: it is not such a message, and nothing of it counts. */
export function datagramsIn(message: Uint8Array): Uint8Array[] | null {
  if (message.length === 0 || message.length > STREAM_MESSAGE_BYTES_MAX) return null;
  const datagrams: Uint8Array[] = [];
  let at = 0;
  while (at < message.length) {
    if (message.length - at < LENGTH_BYTES) return null;
    const length = readU16be(message, at);
    at += LENGTH_BYTES;
    if (!isCarried(length) || length > message.length - at) return null;
    datagrams.push(message.subarray(at, at + length));
    at += length;
  }
  return datagrams;
}

function isCarried(length: number): boolean {
  return length >= STREAM_DATAGRAM_BYTES_MIN && length <= STREAM_DATAGRAM_BYTES_MAX;
}

/** Collects datagrams for one message. */
export class StreamBatch {
  readonly #parts: Uint8Array[] = [];
  #bytes = 0;

  /** Of the message. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Datagrams in it. */
  get count(): number {
    return this.#parts.length;
  }

  /** `datagram`: borrowed until `take`. False when it does not fit any more, or would not be taken at the other end. */
  add(datagram: Uint8Array): boolean {
    const bytes = this.#bytes + LENGTH_BYTES + datagram.length;
    if (!isCarried(datagram.length) || bytes > STREAM_MESSAGE_BYTES_MAX) return false;
    this.#parts.push(datagram);
    this.#bytes = bytes;
    return true;
  }

  /** The message; null when there is none. Empty afterwards. */
  take(): Uint8Array | null {
    if (this.#bytes === 0) return null;
    const message = new Uint8Array(this.#bytes);
    let at = 0;
    for (const part of this.#parts) {
      writeU16be(message, at, part.length);
      message.set(part, at + LENGTH_BYTES);
      at += LENGTH_BYTES + part.length;
    }
    this.#parts.length = 0;
    this.#bytes = 0;
    return message;
  }
}
