// The numbers of the WireGuard paper (Donenfeld, NDSS 2017), by the paper's names, and of the reference implementation
// where the paper leaves them open. Our own stand apart at the end, each with its reason.

import { ascii } from '../base/bytes.ts';

// — the paper, §5.4: labels —

export const IDENTIFIER = ascii('WireGuard v1 zx2c4 Jason@zx2c4.com');
export const LABEL_MAC1 = ascii('mac1----');
export const LABEL_COOKIE = ascii('cookie--');

// — the paper, §6.1: the table of constants —

export const REKEY_AFTER_MESSAGES = 2n ** 60n;
export const REJECT_AFTER_MESSAGES = 2n ** 64n - 2n ** 13n - 1n;
export const REKEY_AFTER_TIME_MS = 120_000;
export const REJECT_AFTER_TIME_MS = 180_000;
export const REKEY_ATTEMPT_TIME_MS = 90_000;
export const REKEY_TIMEOUT_MS = 5_000;
export const KEEPALIVE_TIMEOUT_MS = 10_000;

// — the paper, in running text —

/** §5.4.7: the secret behind our cookies changes every two minutes; §6.6: so long at most is a received cookie good. */
export const COOKIE_REFRESH_TIME_MS = 120_000;
/** §6.2: on receipt, the initiator renews at REJECT_AFTER_TIME − KEEPALIVE_TIMEOUT − REKEY_TIMEOUT: 165 s. */
export const REKEY_ON_RECEIVE_TIME_MS = REJECT_AFTER_TIME_MS - KEEPALIVE_TIMEOUT_MS - REKEY_TIMEOUT_MS;
/** §6.5: data sent and nothing authenticated heard for KEEPALIVE_TIMEOUT + REKEY_TIMEOUT: a new handshake. */
export const NEW_HANDSHAKE_TIME_MS = KEEPALIVE_TIMEOUT_MS + REKEY_TIMEOUT_MS;
/** §6.3: keys and ephemerals are zeroed 3 × REJECT_AFTER_TIME after the last new session. */
export const ZERO_KEYS_TIME_MS = 3 * REJECT_AFTER_TIME_MS;

// — the reference implementation (Linux: messages.h, cookie.h, ratelimiter.c) —

/** Uniform jitter of 0 … 333 ms on REKEY_TIMEOUT and NEW_HANDSHAKE_TIME, against both ends starting in step. */
export const REKEY_TIMEOUT_JITTER_MS = 333;
/** COOKIE_SECRET_LATENCY: a received cookie is used until this much before its secret is replaced. */
export const COOKIE_SECRET_LATENCY_MS = 5_000;
/** INITIATIONS_PER_SECOND = 50: authenticated initiations from one peer closer together than this are ignored. */
export const INITIATION_INTERVAL_MIN_MS = 20;
/** PACKETS_PER_SECOND and PACKETS_BURSTABLE: handshake messages per source while under load (§5.3). */
export const RATE_LIMIT_PER_SECOND = 20;
export const RATE_LIMIT_BURST = 5;
/** Under load from a backlog of an eighth of the queue (4,096/8 there) on … */
export const UNDER_LOAD_FRACTION = 1 / 8;
/** … and for a second after the backlog was last that high. */
export const UNDER_LOAD_AFTER_MS = 1_000;
/** MAX_PEERS per device: 2^20. */
export const PEERS_MAX = 1_048_576;

// — ours —

/**
 * Mesh peers only: an initiation goes out this long after our last handshake message when there is a reason to think that it
 * fares better than the one before (another address, the other end knows us by now). Five times what the other end takes for a flood.
 */
export const HURRIED_INTERVAL_MS = 100;
/**
 * How long the yielding side of a crossing waits for the other's first packet before it uses its own handshake after all.
 * A round trip on most paths; a peer that has dropped its own initiation (stock WireGuard) costs us this once.
 */
export const CROSSING_HOLD_MS = 300;

/** Sources that the rate limiter remembers. The reference scales with memory; 65,536 IPv6 entries took 6 MB of heap. */
export const RATE_LIMIT_SOURCES_MAX = 65_536;
