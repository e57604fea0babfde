// Who may speak to whom: a packet comes out of a tunnel only when the receiver's netmap knows its sender at that moment, goes
// only to whom the sender's netmap knows, and arrives at most once. And what an update does to live sessions: none ends that
// the update gives no reason to end; none of a node that is gone outlives it.

import { fromBase64, toHex } from '../../base/bytes.ts';
import type { Endpoint, IpAddress } from '../../base/ip.ts';
import type { NetmapChange } from '../../mesh/netmap.ts';
import type { PublicKeyText } from '../../protocol/values.ts';
import type { Peer } from '../../wireguard/peer.ts';
import { Invariants } from '../invariants.ts';
import type { Datagram } from '../network.ts';
import { readPacket } from '../packets.ts';
import type { NodeHost } from './node-host.ts';

const STAGED_PACKETS_MAX = 128;
const INITIATION = 1;
const TRANSPORT = 4;

interface Sent {
  readonly from: NodeHost;
  /** Whom the sender's netmap named as the holder of the destination. */
  readonly to: PublicKeyText;
  delivered: number;
}

export class Traffic {
  readonly wire = new Invariants();
  readonly #violated: (what: string) => void;
  readonly #owners = new Map<Endpoint, NodeHost>();
  readonly #sent: Sent[] = [];
  readonly #hexOf = new Map<PublicKeyText, string>();
  #sessions: { readonly peer: Peer; readonly publicKey: PublicKeyText }[] = [];
  delivered = 0;

  constructor(violated: (what: string) => void) {
    this.#violated = violated;
  }

  /** An address belongs to one machine for ever. */
  owns(endpoint: Endpoint, host: NodeHost): void {
    this.#owners.set(endpoint, host);
  }

  // — packets —

  /** A packet from `a` to an address that its netmap gives to a node; its number, or null when there is none such. */
  send(a: NodeHost, destination: IpAddress, payloadBytes: number): number | null {
    const netmap = a.mesh?.netmap;
    if (netmap === undefined || netmap.self === null) return null;
    const target = netmap.find(destination);
    if (target.kind !== 'found') return null;
    const sequence = this.#sent.push({ from: a, to: target.node.publicKey, delivered: 0 }) - 1;
    const source = destination.includes(':') ? netmap.self.address6 : netmap.self.address4;
    a.send(source, destination, sequence, payloadBytes);
    return sequence;
  }

  isDelivered(sequence: number): boolean {
    return (this.#sent[sequence]?.delivered ?? 0) > 0;
  }

  received(host: NodeHost, packet: Uint8Array): void {
    const info = readPacket(packet);
    if (info === null) return;
    const sent = this.#sent[info.sequence];
    const what = `${info.source} > ${info.destination} #${info.sequence}`;
    if (sent === undefined) {
      this.#violated(`${host.name} received ${what}, which nobody sent`);
      return;
    }
    this.delivered++;
    if (++sent.delivered > 1) this.#violated(`${host.name} received ${what} twice`);
    if (!host.publicKeys.includes(sent.to)) this.#violated(`${host.name} received ${what}, meant for another`);
    const known = host.mesh?.netmap.find(info.source);
    if (known?.kind !== 'found')
      this.#violated(`${host.name} accepted ${what} of ${sent.from.name}, which it does not know`);
    else if (!sent.from.publicKeys.includes(known.node.publicKey)) {
      this.#violated(`${host.name} took ${what} of ${sent.from.name} for one of ${known.node.name}`);
    }
  }

  // — datagrams —

  checkWire(datagram: Datagram): void {
    const from = this.#owners.get(datagram.source);
    if (from === undefined) return;
    this.wire.checkWire(from, datagram);
    const type = datagram.bytes[0];
    if (type !== INITIATION && type !== TRANSPORT) return;
    const to = this.#owners.get(datagram.destination);
    if (to === undefined || from.mesh === null) return;
    for (const hex of to.publicKeysHex) if (from.mesh.engine.peer(hex) !== undefined) return;
    this.#violated(`${from.name} sent a message of type ${type} to ${to.name}, which is not its peer`);
  }

  // — updates —

  beforeNetmap(host: NodeHost): void {
    this.#sessions = [];
    if (host.mesh === null) return;
    for (const node of host.mesh.netmap.nodes()) {
      const peer = host.mesh.engine.peer(this.#hex(node.publicKey));
      if (peer !== undefined && peer.session !== null) this.#sessions.push({ peer, publicKey: node.publicKey });
    }
  }

  afterNetmap(host: NodeHost, changes: readonly NetmapChange[]): void {
    if (changes.some(({ kind }) => kind === 'removed' || kind === 'rekeyed')) this.wire.noteForgotten(host);
    const { mesh } = host;
    if (mesh === null) return;
    const known = new Set<string>();
    for (const node of mesh.netmap.nodes()) known.add(this.#hex(node.publicKey));
    const gone = new Set(
      changes.flatMap((change) =>
        change.kind === 'removed' || change.kind === 'rekeyed' ? [change.before.publicKey] : [],
      ),
    );
    for (const { peer, publicKey } of this.#sessions) {
      if (gone.has(publicKey)) {
        if (peer.session !== null || !peer.stopped)
          this.#violated(`${host.name} kept the session of a node that is gone`);
      } else if (known.has(peer.publicKeyHex) && peer.session === null) {
        this.#violated(`${host.name} ended a session for ${changes.map(({ kind }) => kind).join(', ')}`);
      }
    }
    for (const peer of mesh.engine.peers()) {
      if (!known.has(peer.publicKeyHex)) this.#violated(`${host.name} has a peer that its netmap does not know`);
    }
  }

  checkLimits(host: NodeHost): void {
    for (const peer of host.mesh?.engine.peers() ?? []) {
      const { staged } = peer;
      if (staged > STAGED_PACKETS_MAX) this.#violated(`${host.name} holds ${staged} staged packets for a peer`);
    }
  }

  #hex(key: PublicKeyText): string {
    const known = this.#hexOf.get(key);
    if (known !== undefined) return known;
    const hex = toHex(fromBase64(key, 32) ?? new Uint8Array(32));
    this.#hexOf.set(key, hex);
    return hex;
  }
}
