// Reads the status of a WireGuard interface from its control socket (https://www.wireguard.com/xplatform/): connects, asks
// `get=1`, and turns the answer into data. Works with any userspace WireGuard. The kernel's own interfaces have no socket.

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fromHex, toBase64 } from '../base/bytes.ts';

export const SOCKET_DIRECTORY = '/var/run/wireguard';
const SOCKET_SUFFIX = '.sock';
/** An engine that says nothing for so long is stuck. */
const SILENCE_LIMIT_MS = 5_000;
/** PrivateKeyInfo (RFC 8410 §7) up to the 32 bytes of an X25519 private key. */
const PKCS8_PREFIX = '302e020100300506032b656e04220420';

export interface PeerStatus {
  readonly publicKey: string;
  /** Base64, or null when there is none. */
  readonly presharedKey: string | null;
  readonly endpoint: string | null;
  readonly allowedIps: readonly string[];
  /** Milliseconds since the epoch, or null for never. */
  readonly latestHandshake: number | null;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly persistentKeepaliveSeconds: number;
}

export interface InterfaceStatus {
  readonly interface: string;
  readonly privateKey: string | null;
  readonly publicKey: string | null;
  readonly listenPort: number;
  readonly fwmark: number;
  readonly peers: readonly PeerStatus[];
}

/** Names that have a socket, sorted; some may be stale. */
export function interfacesWithSocket(directory = SOCKET_DIRECTORY): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(SOCKET_SUFFIX) && !name.startsWith('.'))
      .map((name) => name.slice(0, -SOCKET_SUFFIX.length))
      .sort();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Rejects with a system error, or with an Error that says what was wrong with the answer. */
export async function readInterface(name: string, directory = SOCKET_DIRECTORY): Promise<InterfaceStatus> {
  return parseStatus(name, await ask(join(directory, `${name}${SOCKET_SUFFIX}`)));
}

function ask(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    let answer = '';
    const end = (error: Error | null): void => {
      socket.destroy();
      if (error === null) resolve(answer);
      else reject(error);
    };
    socket.setEncoding('latin1');
    socket.setTimeout(SILENCE_LIMIT_MS, () => end(new Error(`no answer within ${SILENCE_LIMIT_MS / 1000} s`)));
    socket.on('error', end);
    socket.on('connect', () => socket.write('get=1\n\n'));
    socket.on('data', (piece) => {
      answer += String(piece);
      if (/(^|\n)errno=-?\d+\n\n$/.test(answer.slice(-32))) end(null);
    });
    socket.on('end', () => end(new Error('the answer ends in its middle')));
  });
}

type Draft = { -readonly [K in keyof PeerStatus]: PeerStatus[K] } & { allowedIps: string[]; seconds: number };

/** `answer`: the lines of `get=1`, `errno` included. Throws an Error that says what is wrong. */
export function parseStatus(name: string, answer: string): InterfaceStatus {
  const device = { privateKey: null as string | null, listenPort: 0, fwmark: 0 };
  const peers: Draft[] = [];
  for (const line of answer.split('\n')) {
    const equals = line.indexOf('=');
    if (equals < 0) continue;
    const key = line.slice(0, equals);
    const value = line.slice(equals + 1);
    const peer = peers.at(-1);
    if (key === 'errno' && value !== '0') throw new Error(`it answers errno ${value}`);
    if (key === 'public_key') peers.push(newPeer(value));
    else if (peer === undefined) readDeviceLine(device, key, value);
    else readPeerLine(peer, key, value);
  }
  const publicKey = device.privateKey === null ? null : publicKeyOf(device.privateKey);
  return {
    interface: name,
    publicKey,
    privateKey: device.privateKey === null ? null : base64(device.privateKey),
    listenPort: device.listenPort,
    fwmark: device.fwmark,
    peers: peers.map(({ seconds: _seconds, ...peer }) => peer),
  };
}

function readDeviceLine(
  device: { privateKey: string | null; listenPort: number; fwmark: number },
  key: string,
  value: string,
): void {
  if (key === 'private_key') device.privateKey = value;
  else if (key === 'listen_port') device.listenPort = Number(value);
  else if (key === 'fwmark') device.fwmark = Number(value);
}

function newPeer(publicKeyHex: string): Draft {
  return {
    publicKey: base64(publicKeyHex),
    presharedKey: null,
    endpoint: null,
    allowedIps: [],
    latestHandshake: null,
    rxBytes: 0,
    txBytes: 0,
    persistentKeepaliveSeconds: 0,
    seconds: 0,
  };
}

function readPeerLine(peer: Draft, key: string, value: string): void {
  switch (key) {
    case 'preshared_key':
      peer.presharedKey = /^0*$/.test(value) ? null : base64(value);
      break;
    case 'endpoint':
      peer.endpoint = value;
      break;
    case 'allowed_ip':
      peer.allowedIps.push(value);
      break;
    case 'last_handshake_time_sec':
      peer.seconds = Number(value);
      break;
    case 'last_handshake_time_nsec': {
      const time = peer.seconds * 1000 + Number(value) / 1e6;
      peer.latestHandshake = time === 0 ? null : time;
      break;
    }
    case 'rx_bytes':
      peer.rxBytes = Number(value);
      break;
    case 'tx_bytes':
      peer.txBytes = Number(value);
      break;
    case 'persistent_keepalive_interval':
      peer.persistentKeepaliveSeconds = Number(value);
      break;
    default:
      break;
  }
}

function base64(hex: string): string {
  const bytes = fromHex(hex, 32);
  if (bytes === null) throw new Error('it answers with a malformed key');
  return toBase64(bytes);
}

function publicKeyOf(privateKeyHex: string): string {
  const key = Buffer.from(PKCS8_PREFIX + privateKeyHex, 'hex');
  const { x } = createPublicKey(createPrivateKey({ key, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' });
  key.fill(0);
  return Buffer.from(x ?? '', 'base64url').toString('base64');
}
