// One `set=1` request: applies each line to the device as it comes (https://www.wireguard.com/xplatform/). Device keys come
// first, then peers, each begun by `public_key`. A line that cannot be applied refuses the rest of the request; what was
// applied before it stays, as the protocol has it. Secret values are never part of a refusal.

import { fromHex, toBase64 } from '../../base/bytes.ts';
import type { Instant } from '../../base/instant.ts';
import { parsePrefix } from '../../base/ip.ts';
import type { UapiDevice } from './device.ts';
import { decimal, decodeKey, endpoint, KEY_LENGTH, publicKeyHex, shown, text, type ZoneResolver } from './values.ts';

/** Why a request was refused, for the answer (`errno`) and for one line in the log. */
export interface Refusal {
  /** An errno name. */
  readonly errno: string;
  /** The key of the refused line; empty when the line had none. */
  readonly key: string;
  readonly reason: string;
  /** Counted from 1, the operation's line included. */
  readonly line: number;
  /** Base64 of the selected peer's public key, or null. */
  readonly peer: string | null;
}

type Fault = { readonly errno: string; readonly reason: string };

function invalid(reason: string): Fault {
  return { errno: 'EINVAL', reason };
}

const NOT_TRUE = invalid('the only value is "true"');
const FULL: Fault = { errno: 'ENOSPC', reason: 'there are as many peers as the device can have' };

/** What the lines need to know beside the device. */
export interface SetEnvironment {
  readonly resolveZone: ZoneResolver;
  /** Whether one more peer may be added. */
  readonly hasRoom: () => boolean;
}

/** Which peer the lines are about. `new`: named, and not added until a line says that it is more than a question. */
type Selection<P> =
  | { readonly kind: 'device' }
  | { readonly kind: 'new'; readonly publicKeyHex: string }
  | { readonly kind: 'peer'; readonly publicKeyHex: string; readonly peer: P; readonly added: boolean }
  /** Removed, unknown and not to be added, or ourselves: lines are checked and have no effect. */
  | { readonly kind: 'nobody'; readonly publicKeyHex: string };

export class SetRequest<P> {
  readonly #device: UapiDevice<P>;
  readonly #environment: SetEnvironment;
  readonly #key = new Uint8Array(KEY_LENGTH);
  #selection: Selection<P> = { kind: 'device' };

  constructor(device: UapiDevice<P>, environment: SetEnvironment) {
    this.#device = device;
    this.#environment = environment;
  }

  /** Base64 of the peer that the lines are about; null while they are about the device. */
  get selectedPeer(): string | null {
    if (this.#selection.kind === 'device') return null;
    const bytes = fromHex(this.#selection.publicKeyHex);
    return bytes === null ? null : toBase64(bytes);
  }

  /** Another request may have run between two pieces of this one: a peer that it removed is nobody from now on. */
  resume(): void {
    const selection = this.#selection;
    if (selection.kind !== 'peer' || this.#device.peer(selection.publicKeyHex) === selection.peer) return;
    this.#selection = { kind: 'nobody', publicKeyHex: selection.publicKeyHex };
  }

  /** Applies one line. `value` is borrowed. */
  apply(key: string, value: Uint8Array, now: Instant): Fault | null {
    if (key === 'public_key') return this.#select(value, now);
    if (this.#selection.kind === 'device') return this.#applyToDevice(key, value, now);
    return this.#applyToPeer(key, value, now);
  }

  /** The request is complete. */
  finish(now: Instant): void {
    this.#endPeer(now);
    this.#selection = { kind: 'device' };
  }

  /** The request was refused: what its last peer was given takes effect, a peer that was only named is not added. */
  abandon(now: Instant): void {
    if (this.#selection.kind === 'peer') this.#device.configured(this.#selection.peer, now);
    this.#selection = { kind: 'device' };
  }

  #endPeer(now: Instant): void {
    const peer = this.#peer(now);
    if (peer !== null) this.#device.configured(peer, now);
  }

  /** The selected peer, added first if need be; null for nobody. */
  #peer(now: Instant): P | null {
    const selection = this.#selection;
    if (selection.kind === 'peer') return selection.peer;
    if (selection.kind !== 'new') return null;
    const { publicKeyHex } = selection;
    const peer = this.#device.addPeer(publicKeyHex, now);
    this.#selection =
      peer === undefined ? { kind: 'nobody', publicKeyHex } : { kind: 'peer', publicKeyHex, peer, added: true };
    return peer ?? null;
  }

  #select(value: Uint8Array, now: Instant): Fault | null {
    const hex = publicKeyHex(value);
    if (hex === null) return invalid('not a key of 64 hexadecimal digits');
    this.#endPeer(now);
    const peer = this.#device.peer(hex);
    if (peer === undefined && !this.#environment.hasRoom()) return FULL;
    this.#selection =
      peer === undefined ? { kind: 'new', publicKeyHex: hex } : { kind: 'peer', publicKeyHex: hex, peer, added: false };
    return null;
  }

  #applyToDevice(key: string, value: Uint8Array, now: Instant): Fault | null {
    switch (key) {
      case 'private_key': {
        if (!decodeKey(value, this.#key)) return invalid('not a key of 64 hexadecimal digits');
        const unset = this.#key.every((byte) => byte === 0);
        this.#device.setPrivateKey(unset ? null : this.#key, now);
        this.#key.fill(0);
        return null;
      }
      case 'listen_port': {
        const port = decimal(value, 0xffff);
        if (port === null) return invalid(`not a number from 0 to 65535: ${shown(text(value))}`);
        const errno = this.#device.setListenPort(port, now);
        return errno === null ? null : { errno, reason: `binding UDP port ${port} failed` };
      }
      case 'fwmark': {
        const mark = decimal(value, 0xffff_ffff);
        if (mark === null) return invalid(`not a number from 0 to 4294967295: ${shown(text(value))}`);
        this.#device.setFwmark(mark, now);
        return null;
      }
      case 'replace_peers':
        if (text(value) !== 'true') return NOT_TRUE;
        this.#device.removeAllPeers(now);
        return null;
      default:
        return invalid('not a key of a device');
    }
  }

  #applyToPeer(key: string, value: Uint8Array, now: Instant): Fault | null {
    switch (key) {
      case 'update_only':
        return text(value) === 'true' ? this.#updateOnly(now) : NOT_TRUE;
      case 'remove':
        return text(value) === 'true' ? this.#remove(now) : NOT_TRUE;
      case 'preshared_key': {
        if (!decodeKey(value, this.#key)) return invalid('not a key of 64 hexadecimal digits');
        const peer = this.#peer(now);
        if (peer !== null) this.#device.setPresharedKey(peer, this.#key);
        this.#key.fill(0);
        return null;
      }
      case 'endpoint':
        return this.#setEndpoint(text(value), now);
      case 'persistent_keepalive_interval': {
        const seconds = decimal(value, 0xffff);
        if (seconds === null) return invalid(`not a number from 0 to 65535: ${shown(text(value))}`);
        const peer = this.#peer(now);
        if (peer !== null) this.#device.setPersistentKeepalive(peer, seconds, now);
        return null;
      }
      case 'replace_allowed_ips': {
        if (text(value) !== 'true') return NOT_TRUE;
        const peer = this.#peer(now);
        if (peer !== null) this.#device.removeAllAllowedIps(peer);
        return null;
      }
      case 'allowed_ip':
        return this.#changeAllowedIp(text(value), now);
      case 'protocol_version':
        return text(value) === '1' ? null : invalid('the only version is 1');
      default:
        return invalid('not a key of a peer');
    }
  }

  /** Ends the selection unless the peer was there before this request. */
  #updateOnly(now: Instant): null {
    const selection = this.#selection;
    if (selection.kind === 'peer' && selection.added) this.#device.removePeer(selection.peer, now);
    if (selection.kind === 'new' || (selection.kind === 'peer' && selection.added)) {
      this.#selection = { kind: 'nobody', publicKeyHex: selection.publicKeyHex };
    }
    return null;
  }

  #remove(now: Instant): null {
    const selection = this.#selection;
    if (selection.kind === 'device') return null;
    if (selection.kind === 'peer') this.#device.removePeer(selection.peer, now);
    this.#selection = { kind: 'nobody', publicKeyHex: selection.publicKeyHex };
    return null;
  }

  #setEndpoint(value: string, now: Instant): Fault | null {
    const parsed = endpoint(value, this.#environment.resolveZone);
    if (!parsed.ok) return { errno: parsed.errno, reason: `${parsed.reason}: ${shown(value)}` };
    const peer = this.#peer(now);
    if (peer !== null) this.#device.setEndpoint(peer, parsed.endpoint, now);
    return null;
  }

  #changeAllowedIp(value: string, now: Instant): Fault | null {
    const removal = value.startsWith('-');
    const prefix = parsePrefix(removal ? value.slice(1) : value);
    if (prefix === null) return invalid(`not an address with a prefix length: ${shown(value)}`);
    const peer = this.#peer(now);
    if (peer === null) return null;
    if (removal) this.#device.removeAllowedIp(peer, prefix);
    else this.#device.addAllowedIp(peer, prefix);
    return null;
  }
}
