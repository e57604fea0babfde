// A UapiDevice that keeps what it is told and the order in which it was told, for the tests of the control socket.
// It moves prefixes between peers as cryptokey routing does; it has no sessions and no timers.

import { toHex } from '../../src/base/bytes.ts';
import type { Instant, WallTime } from '../../src/base/instant.ts';
import type { Endpoint, IpPrefix } from '../../src/base/ip.ts';
import type { UapiDevice, UapiPeerStatus } from '../../src/wireguard/uapi/device.ts';

export class FakePeer {
  readonly publicKeyHex: string;
  presharedKeyHex = '0'.repeat(64);
  endpoint: Endpoint | null = null;
  persistentKeepaliveSeconds = 0;
  rxBytes = 0;
  txBytes = 0;
  lastHandshake: WallTime | null = null;
  readonly allowedIps = new Set<IpPrefix>();
  configuredTimes = 0;
  removed = false;

  constructor(publicKeyHex: string) {
    this.publicKeyHex = publicKeyHex;
  }
}

export class FakeDevice implements UapiDevice<FakePeer> {
  readonly peers = new Map<string, FakePeer>();
  readonly #owners = new Map<IpPrefix, FakePeer>();
  /** Every call that changes something, in order; a removed peer that is used again shows as `stale`. */
  readonly log: string[] = [];
  /** What setListenPort answers. */
  bindErrno: string | null = null;
  /** Public key (hex) that counts as our own. */
  ownKeyHex: string | null = null;
  logging = true;
  /** How many statuses have been taken from peerStatuses. */
  statusesTold = 0;
  #privateKeyHex: string | null = null;
  #port = 0;
  #fwmark = 0;

  #note(entry: string): void {
    if (this.logging) this.log.push(entry);
  }

  #use(peer: FakePeer, entry: string): void {
    this.#note(`${peer.removed ? 'stale ' : ''}${peer.publicKeyHex.slice(0, 4)} ${entry}`);
  }

  privateKeyHex(): string | null {
    return this.#privateKeyHex;
  }

  listenPort(): number {
    return this.#port;
  }

  fwmark(): number {
    return this.#fwmark;
  }

  setPrivateKey(key: Uint8Array | null, _now: Instant): void {
    this.#privateKeyHex = key === null ? null : toHex(key);
    this.#note(`private_key ${this.#privateKeyHex}`);
  }

  setListenPort(port: number, _now: Instant): string | null {
    this.#note(`listen_port ${port}`);
    if (this.bindErrno === null) this.#port = port;
    return this.bindErrno;
  }

  setFwmark(fwmark: number, _now: Instant): void {
    this.#fwmark = fwmark;
    this.#note(`fwmark ${fwmark}`);
  }

  peer(publicKeyHex: string): FakePeer | undefined {
    return this.peers.get(publicKeyHex);
  }

  addPeer(publicKeyHex: string, _now: Instant): FakePeer | undefined {
    if (publicKeyHex === this.ownKeyHex) return undefined;
    const peer = new FakePeer(publicKeyHex);
    this.peers.set(publicKeyHex, peer);
    this.#use(peer, 'added');
    return peer;
  }

  removePeer(peer: FakePeer, _now: Instant): void {
    this.#use(peer, 'removed');
    this.removeAllAllowedIps(peer);
    peer.removed = true;
    this.peers.delete(peer.publicKeyHex);
  }

  removeAllPeers(now: Instant): void {
    for (const peer of [...this.peers.values()]) this.removePeer(peer, now);
    this.#note('all peers removed');
  }

  setPresharedKey(peer: FakePeer, key: Uint8Array | null): void {
    peer.presharedKeyHex = key === null ? '0'.repeat(64) : toHex(key);
    this.#use(peer, `preshared_key ${peer.presharedKeyHex}`);
  }

  setEndpoint(peer: FakePeer, endpoint: Endpoint, _now: Instant): void {
    peer.endpoint = endpoint;
    this.#use(peer, `endpoint ${endpoint}`);
  }

  setPersistentKeepalive(peer: FakePeer, seconds: number, _now: Instant): void {
    peer.persistentKeepaliveSeconds = seconds;
    this.#use(peer, `keepalive ${seconds}`);
  }

  addAllowedIp(peer: FakePeer, prefix: IpPrefix): void {
    this.#owners.get(prefix)?.allowedIps.delete(prefix);
    this.#owners.set(prefix, peer);
    peer.allowedIps.add(prefix);
    this.#use(peer, `allowed_ip +${prefix}`);
  }

  removeAllowedIp(peer: FakePeer, prefix: IpPrefix): void {
    if (peer.allowedIps.delete(prefix)) this.#owners.delete(prefix);
    this.#use(peer, `allowed_ip -${prefix}`);
  }

  removeAllAllowedIps(peer: FakePeer): void {
    for (const prefix of peer.allowedIps) this.#owners.delete(prefix);
    peer.allowedIps.clear();
    this.#use(peer, 'no allowed_ips');
  }

  configured(peer: FakePeer, _now: Instant): void {
    peer.configuredTimes++;
    this.#use(peer, 'configured');
  }

  *peerStatuses(): Iterable<UapiPeerStatus> {
    for (const peer of this.peers.values()) {
      this.statusesTold++;
      yield peer;
    }
  }
}

/** A public key that says which it is: `key(7)` begins with 0007. */
export function key(number: number): string {
  return number.toString(16).padStart(4, '0').padEnd(64, 'ab');
}
