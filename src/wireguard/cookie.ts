// mac1, mac2 and the cookie mechanism (paper §5.3, §5.4.4, §5.4.7). CookieGenerator is one peer's side as a sender of
// handshake messages; CookieChecker is ours as their receiver. A cookie binds a sender to its address and port, so that
// under load only those who can receive at their address are served. Leaves out the decision to be under load (load.ts).

import { concat } from '../base/bytes.ts';
import { after, type Instant, NEVER } from '../base/instant.ts';
import { addressBytes, type Endpoint, endpointParts } from '../base/ip.ts';
import type { RandomSource } from '../base/prng.ts';
import type { CryptoProvider, PublicKey } from '../crypto/provider.ts';
import { COOKIE_REFRESH_TIME_MS, COOKIE_SECRET_LATENCY_MS, LABEL_COOKIE, LABEL_MAC1 } from './constants.ts';
import {
  COOKIE_REPLY_NONCE,
  COOKIE_REPLY_SEALED,
  classify,
  frameCookieReply,
  MAC_BYTES,
  MessageType,
  mac1Offset,
  senderIndex,
} from './messages.ts';

const SECRET_BYTES = 32;
const NONCE_BYTES = 24;
const NO_MAC2 = new Uint8Array(MAC_BYTES);

/** HASH("mac1----" ‖ public key): what mac1 of every message to the owner of the key is keyed with. */
export function mac1Key(c: CryptoProvider, publicKey: Uint8Array): Uint8Array {
  return c.hash(LABEL_MAC1, publicKey);
}

function cookieKey(c: CryptoProvider, publicKey: Uint8Array): Uint8Array {
  return c.hash(LABEL_COOKIE, publicKey);
}

/** What a cookie is bound to: address ‖ port, both in network order. `address`: 4 or 16 bytes. */
export function cookieSource(address: Uint8Array, port: number): Uint8Array {
  return concat(address, Uint8Array.of(port >>> 8, port & 255));
}

export function cookieSourceOf(endpoint: Endpoint): Uint8Array {
  const { address, port } = endpointParts(endpoint);
  return cookieSource(addressBytes(address), port);
}

/** Adds macs to the handshake messages sent to one peer and keeps the cookie that it gave us. Small until first used. */
export class CookieGenerator {
  readonly #c: CryptoProvider;
  readonly #remoteStatic: PublicKey;
  #mac1Key: Uint8Array | null = null;
  /** mac1 of the last message sent, while no cookie reply to it has been taken. */
  #awaited: Uint8Array | null = null;
  #cookie: Uint8Array | null = null;
  #cookieUntil: Instant = NEVER;

  /** `remoteStatic`: the receiver's public key, kept by reference. */
  constructor(c: CryptoProvider, remoteStatic: PublicKey) {
    this.#c = c;
    this.#remoteStatic = remoteStatic;
  }

  /** Writes mac1, and mac2 while there is a fresh cookie (zeros otherwise), into an initiation or response. In place. */
  addMacs(message: Uint8Array, now: Instant): void {
    this.#mac1Key ??= mac1Key(this.#c, this.#remoteStatic);
    const at = mac1Offset(message.length);
    const mac1 = this.#c.mac(this.#mac1Key, message.subarray(0, at));
    message.set(mac1, at);
    this.#awaited = mac1;
    if (this.#cookie !== null && now >= this.#cookieUntil) this.#dropCookie();
    if (this.#cookie === null) message.fill(0, at + MAC_BYTES);
    else message.set(this.#c.mac(this.#cookie, message.subarray(0, at + MAC_BYTES)), at + MAC_BYTES);
  }

  /**
   * Keeps the cookie of a reply to the last message sent; each message's reply is taken once. Nothing is sent again
   * because of it: the retry timer does that (§6.6). False when it is not such a reply.
   */
  consumeReply(reply: Uint8Array, now: Instant): boolean {
    if (this.#awaited === null || classify(reply) !== MessageType.cookieReply) return false;
    const nonce = reply.subarray(COOKIE_REPLY_NONCE, COOKIE_REPLY_SEALED);
    const key = cookieKey(this.#c, this.#remoteStatic);
    const cookie = this.#c.xopen(key, nonce, reply.subarray(COOKIE_REPLY_SEALED), this.#awaited);
    if (cookie === null) return false;
    this.#dropCookie();
    this.#cookie = cookie;
    this.#cookieUntil = after(now, COOKIE_REFRESH_TIME_MS - COOKIE_SECRET_LATENCY_MS);
    this.#awaited = null;
    return true;
  }

  /** Forgets the cookie and what was sent; usable again afterwards. */
  wipe(): void {
    this.#dropCookie();
    this.#awaited = null;
  }

  #dropCookie(): void {
    if (this.#cookie !== null) this.#c.wipe(this.#cookie);
    this.#cookie = null;
  }
}

/** Checks the macs of handshake messages sent to us and makes cookie replies. One for the device. */
export class CookieChecker {
  readonly #c: CryptoProvider;
  readonly #random: RandomSource;
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  readonly #secret = new Uint8Array(SECRET_BYTES);
  #secretSince: Instant | null = null;

  constructor(c: CryptoProvider, random: RandomSource, localStatic: PublicKey) {
    this.#c = c;
    this.#random = random;
    this.#mac1Key = mac1Key(c, localStatic);
    this.#cookieKey = cookieKey(c, localStatic);
  }

  /** `message`: a classified initiation or response. */
  checkMac1(message: Uint8Array): boolean {
    const at = mac1Offset(message.length);
    const expected = this.#c.mac(this.#mac1Key, message.subarray(0, at));
    return this.#c.equal(expected, message.subarray(at, at + MAC_BYTES));
  }

  /** Whether the sender has our cookie for its address. `source`: see `cookieSource`. */
  checkMac2(message: Uint8Array, source: Uint8Array, now: Instant): boolean {
    // A secret that has run out, or was never made, vouches for nobody; the next reply makes a new one.
    if (this.#secretSince === null || now - this.#secretSince >= COOKIE_REFRESH_TIME_MS) return false;
    const at = mac1Offset(message.length) + MAC_BYTES;
    // Most of a flood has no cookie at all and costs no hash. A mac2 that is zero by chance is one in 2^128.
    if (this.#c.equal(message.subarray(at, at + MAC_BYTES), NO_MAC2)) return false;
    const cookie = this.#c.mac(this.#secret, source);
    const expected = this.#c.mac(cookie, message.subarray(0, at));
    this.#c.wipe(cookie);
    return this.#c.equal(expected, message.subarray(at, at + MAC_BYTES));
  }

  /** 64 bytes: the cookie for `source`, sealed to the mac1 of `message`, whose mac1 has been checked. */
  createReply(message: Uint8Array, source: Uint8Array, now: Instant): Uint8Array {
    if (this.#secretSince === null || now - this.#secretSince >= COOKIE_REFRESH_TIME_MS) {
      this.#random(this.#secret);
      this.#secretSince = now;
    }
    const nonce = new Uint8Array(NONCE_BYTES);
    this.#random(nonce);
    const at = mac1Offset(message.length);
    const cookie = this.#c.mac(this.#secret, source);
    const sealed = this.#c.xseal(this.#cookieKey, nonce, cookie, message.subarray(at, at + MAC_BYTES));
    this.#c.wipe(cookie);
    return frameCookieReply(senderIndex(message), nonce, sealed);
  }

  wipe(): void {
    this.#c.wipe(this.#secret);
    this.#secretSince = null;
  }
}
