// One node of a fleet: the product's control client over a real WebSocket and Noise, without a TUN. Every frame is opened and
// authenticated; of a long message (a snapshot, a delta of many operations) all but a few clients read only the head, because ten
// thousand netmaps of ten thousand nodes would fit no machine. Short messages are parsed whole by all.

import { getRandomValues, randomBytes } from 'node:crypto';
import { constants, inflateRawSync } from 'node:zlib';
import { type RawData, WebSocket } from 'ws';
import { ascii } from '../../src/base/bytes.ts';
import type { Instant, WallTime } from '../../src/base/instant.ts';
import { NEVER } from '../../src/base/instant.ts';
import type { Endpoint } from '../../src/base/ip.ts';
import { nodeProvider } from '../../src/crypto/node.ts';
import type { DhKey, PublicKey } from '../../src/crypto/provider.ts';
import { ControlClient, type ControlOutputs } from '../../src/mesh/control-client.ts';
import { FRAME_BYTES_MAX, layOut, type ReceivedMessage, SecureChannel } from '../../src/noise/secure-channel.ts';
import {
  CONTROL_PATH,
  CONTROL_PROLOGUE,
  CONTROLLER_MESSAGE_BYTES_MAX,
  type ControllerMessage,
  controllerMessageSchema,
  type Delta,
  NODE_MESSAGE_BYTES_MAX,
  type NodeMessage,
} from '../../src/protocol/control.ts';

const PROLOGUE = ascii(CONTROL_PROLOGUE);
const LONG_MESSAGE_BYTES = 1_024;
const HEAD_BYTES = 2_048;
const READ_MAX = 64;

/** What was read last, by the bytes: all clients are sent the same, and one reading does for them. */
const read = new Map<string, ControllerMessage>();
const PORT = 51_820;

export interface FleetTarget {
  readonly url: string;
  readonly controllerKey: PublicKey;
}

export interface FleetEvents {
  /** First `connected` after each connection. */
  connected(client: FleetClient): void;
  delta(client: FleetClient, delta: Delta): void;
  failed(client: FleetClient, why: string): void;
}

export class FleetClient {
  /** While a change is timed everybody reads everything: it may share its delta with others. */
  static everything = false;
  readonly index: number;
  /** Parses and validates everything. */
  readonly thorough: boolean;
  bytesReceived = 0;
  connects = 0;
  readonly #target: FleetTarget;
  readonly #events: FleetEvents;
  readonly #key: DhKey;
  readonly #client: ControlClient;
  #connection = 0;
  #socket: WebSocket | null = null;
  #channel: SecureChannel | null = null;
  #timer: NodeJS.Timeout | null = null;
  #timerAt: number = NEVER;
  #wasConnected = false;

  /** `privateKey`: 32 bytes, copied; without, one of its own. */
  constructor(
    index: number,
    thorough: boolean,
    target: FleetTarget,
    events: FleetEvents,
    privateKey: Uint8Array = randomBytes(32),
  ) {
    this.index = index;
    this.thorough = thorough;
    this.#target = target;
    this.#events = events;
    this.#key = nodeProvider.importPrivateKey(privateKey);
    this.#client = new ControlClient({
      random: (out) => {
        getRandomValues(out);
      },
      wallClock: () => Date.now() as WallTime,
      outputs: this.#outputs(),
      software: 'warren-bench',
      os: 'linux',
    });
  }

  start(authKey: string): void {
    this.setPort(PORT);
    this.#client.start({ hostname: `node-${this.index}`, authKey, resume: null, nextKey: null }, now());
    this.#settle();
  }

  /** Changes what the others are told of this node. */
  setPort(port: number): void {
    const address = `10.${(this.index >> 16) & 255}.${(this.index >> 8) & 255}.${this.index & 255}`;
    this.#client.setCandidates([{ kind: 'host', endpoint: `${address}:${port}` as Endpoint }], port, now());
    this.#settle();
  }

  stop(): void {
    this.#client.stop(null, now());
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#socket?.terminate();
  }

  #outputs(): ControlOutputs {
    const nothing = (): void => undefined;
    return {
      connect: (connection) => this.#connect(connection),
      close: () => this.#socket?.close(),
      send: (_connection, message) => this.#send(message),
      probe: () => this.#socket?.ping(),
      welcome: nothing,
      snapshot: nothing,
      delta: (delta) => this.#events.delta(this, delta),
      punch: nothing,
      persistNextKey: nothing,
      keySwitched: nothing,
      nextKeyRefused: nothing,
      changed: nothing,
    };
  }

  #connect(connection: number): void {
    this.#connection = connection;
    this.connects++;
    const channel = SecureChannel.initiator(
      {
        crypto: nodeProvider,
        random: (out) => {
          getRandomValues(out);
        },
        prologue: PROLOGUE,
        localStatic: this.#key,
        limits: {
          receiveBytesMax: CONTROLLER_MESSAGE_BYTES_MAX,
          queueBytesMax: 16 * NODE_MESSAGE_BYTES_MAX,
          queueMessagesMax: 64,
        },
      },
      this.#target.controllerKey,
    );
    const socket = new WebSocket(`${this.#target.url.replace(/^http/, 'ws')}${CONTROL_PATH}`, {
      perMessageDeflate: false,
      skipUTF8Validation: true,
      maxPayload: FRAME_BYTES_MAX,
    });
    this.#channel = channel;
    this.#socket = socket;
    let opened = false;
    socket.on('open', () => this.#pump());
    socket.on('ping', () => this.#tell(connection, () => this.#client.heard(connection, now())));
    socket.on('message', (data: RawData) => {
      if (connection !== this.#connection) return;
      const frame = data as Buffer;
      this.bytesReceived += frame.length;
      const received = channel.handleFrame(frame);
      if (channel.failure !== null) socket.terminate();
      else if (!opened) {
        opened = true;
        this.#tell(connection, () => this.#client.opened(connection, now()));
      } else if (received !== null) this.#handle(connection, received);
      else this.#tell(connection, () => this.#client.heard(connection, now()));
    });
    let reason = 'ended';
    socket.on('error', (error) => {
      reason = error.message;
    });
    socket.on('close', () => {
      channel.close();
      this.#wasConnected = false;
      const code = opened ? 'closed' : 'unreachable';
      this.#tell(connection, () => this.#client.closed(connection, { code, message: reason }, now()));
    });
  }

  #handle(connection: number, received: ReceivedMessage): void {
    const message = this.#read(received);
    if (message === null) {
      this.#events.failed(this, 'a message that cannot be read');
      this.#socket?.terminate();
      return;
    }
    this.#tell(connection, () => this.#client.message(connection, message, now()));
    const { state, problem } = this.#client.status();
    if (problem !== null) this.#events.failed(this, `${problem.code}: ${problem.message}`);
    if (state === 'connected' && !this.#wasConnected) {
      this.#wasConnected = true;
      this.#events.connected(this);
    }
  }

  #read({ bytes, deflated }: ReceivedMessage): ControllerMessage | null {
    try {
      if (!this.thorough && !FleetClient.everything && bytes.length > LONG_MESSAGE_BYTES)
        return headOnce(bytes, deflated);
      const text = Buffer.from(deflated ? inflateRawSync(bytes) : bytes).toString('utf8');
      const json = JSON.parse(text) as ControllerMessage;
      return this.thorough ? controllerMessageSchema.parse(json) : json;
    } catch {
      return null;
    }
  }

  #send(message: NodeMessage): void {
    this.#channel?.send(layOut(Buffer.from(JSON.stringify(message)), false));
    this.#pump();
  }

  #pump(): void {
    const { channel, socket } = { channel: this.#channel, socket: this.#socket };
    if (channel === null || socket === null || socket.readyState !== WebSocket.OPEN) return;
    for (let frame = channel.nextFrame(); frame !== null; frame = channel.nextFrame()) socket.send(frame);
  }

  #tell(connection: number, what: () => void): void {
    if (connection !== this.#connection) return;
    what();
    this.#pump();
    this.#settle();
  }

  /** One timer, set anew only when the deadline moved. */
  #settle(): void {
    const at = this.#client.nextDeadline();
    if (at === this.#timerAt) return;
    this.#timerAt = at;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (at === NEVER) return;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = NEVER;
        this.#client.handleDeadline(now());
        this.#pump();
        this.#settle();
      },
      Math.max(0, at - now()),
    );
  }
}

export function now(): Instant {
  return performance.now() as Instant;
}

function headOnce(bytes: Uint8Array, deflated: boolean): ControllerMessage | null {
  const text = (from: number, to: number): string => Buffer.from(bytes.subarray(from, to)).toString('latin1');
  const key = `${bytes.length}:${text(0, 64)}:${text(bytes.length - 32, bytes.length)}`;
  const known = read.get(key);
  if (known !== undefined) return known;
  const message = headOf(bytes, deflated);
  if (message === null) return null;
  if (read.size >= READ_MAX) read.clear();
  read.set(key, message);
  return message;
}

/** Type and position of a long message, from its first bytes. */
function headOf(bytes: Uint8Array, deflated: boolean): ControllerMessage | null {
  const cut = bytes.subarray(0, HEAD_BYTES);
  const head = Buffer.from(deflated ? inflateRawSync(cut, { finishFlush: constants.Z_SYNC_FLUSH }) : cut).toString(
    'utf8',
  );
  const seq = Number(/"seq":(\d+)/.exec(head)?.[1]);
  const epoch = /"epoch":"([^"]+)"/.exec(head)?.[1];
  const from = /"from":(\d+)/.exec(head)?.[1];
  if (!Number.isFinite(seq)) return null;
  if (head.startsWith('{"type":"snapshot"') && epoch !== undefined) {
    const network = { name: 'bench', prefix4: '10.0.0.0/8', prefix6: 'fd00::/8' };
    return { type: 'snapshot', epoch, seq, network, nodes: [] } as unknown as ControllerMessage;
  }
  if (from === undefined) return null;
  return { type: 'delta', from: Number(from), seq, ops: [], ack: false };
}
