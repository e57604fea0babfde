// The least that has a slot at a relay: a WireGuard engine over a plane in memory and a socket of its own, until the relay has answered. Then
// it is gone, and the relay does not know: its slot stays as that of a member that is silent.

import { getRandomValues } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { type Instant, NEVER, type WallTime } from '../../src/base/instant.ts';
import type { Endpoint } from '../../src/base/ip.ts';
import { nodeProvider } from '../../src/crypto/node.ts';
import { createReferencePlane } from '../../src/dataplane/reference/plane.ts';
import { decodeFrame, encodeRelayAllocate } from '../../src/mesh/frames.ts';
import { Engine } from '../../src/wireguard/engine.ts';

const LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 250;
/** An eighth of them in use is load, and to answer nobody without a cookie. */
const SLAB_SLOTS = 64;
const PORT = 51_820;

export interface SlotRequest {
  readonly privateKey: Uint8Array;
  /** Of this machine; every member has its own, as relays tell them apart by it. */
  readonly address: string;
  readonly relayKeyHex: string;
  readonly relayAddress: string;
  readonly relayPort: number;
}

/** Resolves when the relay has given a slot; rejects when it has not within 30 s. */
export function takeSlot(request: SlotRequest): Promise<void> {
  const { relayAddress, relayPort } = request;
  const relay = `${relayAddress}:${relayPort}` as Endpoint;
  const local = `${request.address}:${PORT}` as Endpoint;
  const plane = createReferencePlane({ crypto: nodeProvider, peersMax: 1, slabSlots: SLAB_SLOTS });
  const now = (): Instant => performance.now() as Instant;
  plane.io.setNow(now());
  let outcome: 'waiting' | 'slot' | 'refused' = 'waiting';
  let asked = false;
  const engine = new Engine({
    plane,
    crypto: nodeProvider,
    random: (out) => {
      getRandomValues(out);
    },
    wallClock: () => Date.now() as WallTime,
    extension: {
      initiationSent: () => false,
      attemptGivenUp: () => undefined,
      sessionWorks: () => undefined,
      peerChanged: () => undefined,
      frame: (_peer, bytes) => {
        const { kind } = decodeFrame(bytes);
        if (kind === 'relaySlot') outcome = 'slot';
        if (kind === 'relayRefused') outcome = 'refused';
      },
      nextDeadline: () => NEVER,
      expire: () => undefined,
    },
  });
  engine.setPrivateKey(request.privateKey, now());
  engine.linkUp(now());
  const peer = engine.addPeer(request.relayKeyHex, now());
  if (peer === undefined) return Promise.reject(new Error('the relay cannot be a peer'));
  engine.setEndpoint(peer, relay, now());
  const socket = createSocket('udp4');
  const flush = (): void => {
    for (const { datagram } of plane.io.takeUdpOutput()) socket.send(datagram, relayPort, relayAddress);
  };
  const run = (): void => {
    plane.io.setNow(now());
    while (engine.handleWake(now())) flush();
    if (!asked && plane.canSend(peer.slot, now())) {
      asked = true;
      plane.sendFrame(peer.slot, encodeRelayAllocate(1), now());
    }
    flush();
  };
  return new Promise((resolve, reject) => {
    const started = now();
    const end = (error: Error | null): void => {
      clearInterval(timer);
      socket.close();
      engine.close(now());
      plane.close();
      if (error === null) resolve();
      else reject(error);
    };
    const look = (): void => {
      if (outcome === 'slot') end(null);
      else if (outcome === 'refused') end(new Error('the relay refuses'));
      else if (now() - started > LIMIT_MS) end(new Error(`no slot within ${LIMIT_MS / 1_000} s`));
    };
    const timer = setInterval(() => {
      run();
      look();
    }, LOOK_EVERY_MS);
    socket.on('error', (error) => end(error));
    socket.on('message', (bytes) => {
      plane.io.setNow(now());
      plane.io.udpInput(new Uint8Array(bytes), relay, local);
      run();
      look();
    });
    socket.bind(PORT, request.address, () => {
      engine.begin(peer, now());
      run();
    });
  });
}
