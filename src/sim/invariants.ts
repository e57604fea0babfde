// What must hold at every moment of every run, whatever the network and the people do. Each check sees the wire, the
// hosts' sends or their receipts as they happen and records the first violation in words; nothing here throws.

import { readU32le, readU64le } from '../base/bytes.ts';
import type { IpAddress } from '../base/ip.ts';
import type { Host } from './host.ts';
import type { Datagram } from './network.ts';
import { PLAINTEXT_MARK, readPacket } from './packets.ts';

const STAGED_PACKETS_MAX = 128;

/** Whoever sends datagrams. */
interface Sender {
  readonly name: string;
}

interface Sent {
  delivered: number;
}

export class Invariants {
  readonly violations: string[] = [];
  readonly #sent = new Map<string, Sent>();
  readonly #nonces = new Set<string>();
  /** The sender index of each response, by the initiation that it answers: one that goes two ways is still one. */
  readonly #answered = new Map<string, number>();
  /** Bumped when a host forgets what it has seen of its peers: reboots, and peers removed and added again. */
  readonly #memories = new Map<string, number>();
  readonly #checked = new Map<string, number>();

  #violated(what: string): void {
    if (this.violations.length < 10) this.violations.push(what);
  }

  noteSent(source: IpAddress, destination: IpAddress, sequence: number): void {
    this.#sent.set(`${source}>${destination}#${sequence}`, { delivered: 0 });
  }

  noteForgotten(host: Sender): void {
    this.#memories.set(host.name, (this.#memories.get(host.name) ?? 0) + 1);
  }

  /** Every datagram that a host sends. */
  checkWire(from: Sender, { bytes }: Pick<Datagram, 'bytes'>): void {
    this.#checkPlaintext(from, bytes);
    if (bytes[0] === 4 && bytes.length >= 32) {
      const nonce = `${from.name}:${readU32le(bytes, 4)}:${readU64le(bytes, 8)}`;
      if (this.#nonces.has(nonce)) this.#violated(`${from.name} used nonce ${readU64le(bytes, 8)} of a session twice`);
      this.#nonces.add(nonce);
    } else if (bytes[0] === 2 && bytes.length === 92) {
      const answer = `${from.name}:${this.#memories.get(from.name) ?? 0}:${readU32le(bytes, 8)}`;
      const index = readU32le(bytes, 4);
      if ((this.#answered.get(answer) ?? index) !== index)
        this.#violated(`${from.name} answered the same initiation twice`);
      this.#answered.set(answer, index);
    }
  }

  #checkPlaintext(from: Sender, bytes: Uint8Array): void {
    for (let at = bytes.indexOf(PLAINTEXT_MARK >>> 24); at >= 0; at = bytes.indexOf(PLAINTEXT_MARK >>> 24, at + 1)) {
      if (at + 8 > bytes.length) return;
      if (markedAt(bytes, at) && markedAt(bytes, at + 4)) {
        this.#violated(`${from.name} sent plaintext`);
        return;
      }
    }
  }

  /** What has come out of the host's tunnel since the last call. */
  checkReceived(host: Host): void {
    const from = this.#checked.get(host.name) ?? 0;
    this.#checked.set(host.name, host.received.length);
    for (const { packet } of host.received.slice(from)) {
      const info = readPacket(packet);
      if (info === null) continue;
      const sent = this.#sent.get(`${info.source}>${info.destination}#${info.sequence}`);
      const what = `${info.source} > ${info.destination} #${info.sequence}`;
      if (sent === undefined) this.#violated(`${host.name} received ${what}, which nobody sent`);
      else if (++sent.delivered > 1) this.#violated(`${host.name} received ${what} twice`);
      if (!host.addresses.includes(info.destination))
        this.#violated(`${host.name} received ${what}, meant for another`);
    }
  }

  /** A packet from a host that is no peer (any more) must not come out of the tunnel. */
  checkFromPeersOnly(host: Host, hosts: readonly Host[]): void {
    const from = this.#checked.get(host.name) ?? 0;
    for (const { packet } of host.received.slice(from)) {
      const source = readPacket(packet)?.source;
      const sender = hosts.find((other) => source !== undefined && other.addresses.includes(source));
      if (sender !== undefined && !sender.publicKeys.some((key) => host.engine.peer(key) !== undefined)) {
        this.#violated(`${host.name} accepted a packet from ${sender.name}, which is not its peer`);
      }
    }
  }

  checkLimits(host: Host): void {
    for (const peer of host.engine.peers()) {
      if (peer.staged > STAGED_PACKETS_MAX)
        this.#violated(`${host.name} holds ${peer.staged} staged packets for a peer`);
    }
  }

  delivered(source: IpAddress, destination: IpAddress, sequence: number): boolean {
    return (this.#sent.get(`${source}>${destination}#${sequence}`)?.delivered ?? 0) > 0;
  }
}

function markedAt(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at] === PLAINTEXT_MARK >>> 24 &&
    bytes[at + 1] === ((PLAINTEXT_MARK >>> 16) & 255) &&
    bytes[at + 2] === ((PLAINTEXT_MARK >>> 8) & 255) &&
    bytes[at + 3] === (PLAINTEXT_MARK & 255)
  );
}
