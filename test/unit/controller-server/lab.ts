// A control server on a loopback port around a fake core, clients of it by hand, and waiting for conditions.

import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import { ascii } from '../../../src/base/bytes.ts';
import type { Instant } from '../../../src/base/instant.ts';
import { ControlServer } from '../../../src/controller/server/control-server.ts';
import { CoreHost } from '../../../src/controller/server/core-host.ts';
import { newServerCounters } from '../../../src/controller/server/counters.ts';
import { SERVER_LIMITS, type ServerLimits } from '../../../src/controller/server/limits.ts';
import { SharedEncodings } from '../../../src/controller/server/message-codec.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { DhKey, PublicKey } from '../../../src/crypto/provider.ts';
import { layOut, type ReceivedMessage, SecureChannel } from '../../../src/noise/secure-channel.ts';
import { CONTROL_PROLOGUE, type NodeMessage } from '../../../src/protocol/control.ts';
import type { Certificate } from '../../../src/service/listen.ts';
import { createLog } from '../../../src/service/log.ts';
import { FakeCore, wallNow } from './fake-core.ts';

export const random = (out: Uint8Array): void => {
  out.set(randomBytes(out.length));
};

export function newKey(): DhKey {
  return nodeProvider.importPrivateKey(randomBytes(32));
}

export const REGISTER: NodeMessage = {
  type: 'register',
  version: 1,
  software: 'test',
  os: 'test',
  hostname: 'machine',
  authKey: null,
  resume: null,
  candidates: [],
  listenPort: 0,
};

/** Resolves once `condition` holds; fails the test, saying `what`, when it does not within the limit. */
export async function until(what: string, condition: () => boolean, limitMs = 10_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export interface LabOptions {
  readonly limits?: Partial<ServerLimits>;
  readonly certificate?: Certificate;
  readonly commit?: () => Promise<void>;
}

export async function startLab(options: LabOptions = {}) {
  const core = new FakeCore();
  const counters = newServerCounters();
  const limits = { ...SERVER_LIMITS, ...options.limits };
  const staticKey = newKey();
  const lines: string[] = [];
  const storeErrors: unknown[] = [];
  const now = (): Instant => performance.now() as Instant;
  const host = new CoreHost({
    core,
    store: { commit: options.commit ?? (() => Promise.resolve()) },
    encodings: new SharedEncodings(counters),
    outputsPerTurn: limits.outputsPerTurn,
    now,
    wallNow,
    log: createLog('debug', (line) => lines.push(line)),
    onStoreError: (error) => storeErrors.push(error),
  });
  const server = new ControlServer({
    crypto: nodeProvider,
    random,
    staticKey,
    certificate: options.certificate ?? null,
    limits,
    counters,
    events: host,
    onRequest: (_request, response) => response.writeHead(404).end(),
    now,
  });
  const port = await server.listen('127.0.0.1', 0);
  let stopped: Promise<void> | null = null;
  const stop = (): Promise<void> => {
    stopped ??= host.stop().then(() => server.close('stopping'));
    return stopped;
  };
  onTestFinished(stop);
  return { core, counters, host, server, port, staticKey, lines, storeErrors, stop };
}
export type Lab = Awaited<ReturnType<typeof startLab>>;

/** A node by hand: frames of its channel go as the test says. */
export class TestNode {
  readonly socket: WebSocket;
  readonly channel: SecureChannel;
  readonly frames: Buffer[] = [];
  readonly messages: ReceivedMessage[] = [];
  closeCode: number | null = null;
  pings = 0;

  constructor(port: number, controllerKey: PublicKey, localStatic: DhKey = newKey(), autoPong = true) {
    this.channel = SecureChannel.initiator(
      {
        crypto: nodeProvider,
        random,
        prologue: ascii(CONTROL_PROLOGUE),
        localStatic,
        limits: { receiveBytesMax: 64 * 1024 * 1024, queueBytesMax: 10_000_000, queueMessagesMax: 100_000 },
      },
      controllerKey,
    );
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/v1/control`, { perMessageDeflate: false, autoPong });
    this.socket.on('message', (data) => {
      this.frames.push(data as Buffer);
      const message = this.channel.handleFrame(data as Buffer);
      if (message !== null) this.messages.push(message);
    });
    this.socket.on('close', (code) => {
      this.closeCode = code;
    });
    this.socket.on('ping', () => {
      this.pings++;
    });
    this.socket.on('error', () => undefined);
    onTestFinished(() => this.socket.terminate());
  }

  opened(): Promise<void> {
    return until('the WebSocket opens', () => this.socket.readyState === WebSocket.OPEN);
  }

  /** Sends all frames that are ready. */
  flush(): void {
    for (let frame = this.channel.nextFrame(); frame !== null; frame = this.channel.nextFrame())
      this.socket.send(frame);
  }

  async handshake(): Promise<this> {
    await this.opened();
    this.flush();
    await until('the handshake is done', () => this.channel.state === 'open');
    return this;
  }

  say(message: unknown, deflated = false): void {
    this.sayBytes(Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)), deflated);
  }

  sayBytes(bytes: Uint8Array, deflated = false): void {
    if (!this.channel.send(layOut(bytes, deflated))) throw new Error('the queue of the test is full');
    this.flush();
  }

  ended(): Promise<void> {
    return until('the connection ends', () => this.closeCode !== null);
  }
}
