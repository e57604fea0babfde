// What the control socket needs from a WireGuard device: the seam between the UAPI codec (this folder) and the engine.
// `P` is the engine's peer object, opaque here. Public keys are 64 lower-case hexadecimal digits. Setters act at once, in
// the order of the request's lines; what can fail gives back an errno name.

import type { Instant, WallTime } from '../../base/instant.ts';
import type { Endpoint, IpPrefix } from '../../base/ip.ts';

export interface UapiPeerStatus {
  readonly publicKeyHex: string;
  /** 64 hexadecimal digits; all zeros when unset. */
  readonly presharedKeyHex: string;
  readonly endpoint: Endpoint | null;
  readonly persistentKeepaliveSeconds: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  /** Wall time of the last completed handshake (the responder's completes at confirmation), or null. */
  readonly lastHandshake: WallTime | null;
  readonly allowedIps: Iterable<IpPrefix>;
}

export interface UapiDevice<P> {
  /** Hexadecimal, clamped; null when unset. */
  privateKeyHex(): string | null;
  listenPort(): number;
  fwmark(): number;

  /** 32 bytes, borrowed; null removes it. Removes the peer that has become ourselves. */
  setPrivateKey(key: Uint8Array | null, now: Instant): void;
  /** Null, or the errno name that binding gave; the old port stays when the new one cannot be had. */
  setListenPort(port: number, now: Instant): string | null;
  setFwmark(fwmark: number, now: Instant): void;

  peer(publicKeyHex: string): P | undefined;
  /** Undefined when the key is our own: the caller goes on as if it were there. */
  addPeer(publicKeyHex: string, now: Instant): P | undefined;
  removePeer(peer: P, now: Instant): void;
  removeAllPeers(now: Instant): void;

  /** 32 bytes, borrowed; all zeros or null clears it. */
  setPresharedKey(peer: P, key: Uint8Array | null): void;
  setEndpoint(peer: P, endpoint: Endpoint, now: Instant): void;
  /** 0 … 65535; 0 = off. */
  setPersistentKeepalive(peer: P, seconds: number, now: Instant): void;
  addAllowedIp(peer: P, prefix: IpPrefix): void;
  removeAllowedIp(peer: P, prefix: IpPrefix): void;
  removeAllAllowedIps(peer: P): void;
  /** Called once when the lines of one peer are over: handshakes and keepalives that they asked for start now. */
  configured(peer: P, now: Instant): void;

  peerStatuses(): Iterable<UapiPeerStatus>;
}
