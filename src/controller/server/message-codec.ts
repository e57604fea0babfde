// Messages as bytes: JSON, deflated when that is worth it, cut into pieces for the channel. What many connections are sent is
// encoded once, for as long as the core holds the message.

import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { type LaidOutMessage, layOut, type ReceivedMessage } from '../../noise/secure-channel.ts';
import {
  type ControllerMessage,
  NODE_MESSAGE_BYTES_MAX,
  type NodeMessage,
  nodeMessageSchema,
} from '../../protocol/control.ts';
import type { SharedMessage } from '../state/outputs.ts';
import type { ServerCounters } from './counters.ts';

/** Below, the bytes fit a packet either way. */
const DEFLATE_BYTES_MIN = 1024;
const DEFLATE = { level: constants.Z_BEST_SPEED } as const;

export function encodeMessage(message: ControllerMessage): LaidOutMessage {
  const json = Buffer.from(JSON.stringify(message));
  return json.length < DEFLATE_BYTES_MIN ? layOut(json, false) : layOut(deflateRawSync(json, DEFLATE), true);
}

export class SharedEncodings {
  readonly #counters: ServerCounters;
  readonly #encodings = new WeakMap<SharedMessage, LaidOutMessage>();

  constructor(counters: ServerCounters) {
    this.#counters = counters;
  }

  encode(shared: SharedMessage): LaidOutMessage {
    const known = this.#encodings.get(shared);
    if (known !== undefined) {
      this.#counters.encodingsReused++;
      return known;
    }
    const made = encodeMessage(shared.message);
    this.#encodings.set(shared, made);
    this.#counters.encodingsMade++;
    return made;
  }
}

/** Null for anything that is not a message of a node. */
export function decodeNodeMessage(received: ReceivedMessage): NodeMessage | null {
  try {
    const bytes = received.deflated
      ? inflateRawSync(received.bytes, { maxOutputLength: NODE_MESSAGE_BYTES_MAX })
      : received.bytes;
    const json: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
    return nodeMessageSchema.safeParse(json).data ?? null;
  } catch {
    // Not deflate, too long when inflated, or not JSON.
    return null;
  }
}
