// The answer to `get=1` (https://www.wireguard.com/xplatform/), as a stream of chunks so that a reader that is slow costs
// no more than one of them. A peer's lines are made in one go: they agree with each other even if the device changes
// between two chunks.

import type { WallTime } from '../../base/instant.ts';
import type { UapiDevice, UapiPeerStatus } from './device.ts';
import { formatErrno } from './errno.ts';

/** A chunk is given out as soon as it is at least this long. */
export const STATUS_CHUNK_LENGTH = 65_536;

export function* formatStatus<P>(device: UapiDevice<P>, chunkLength = STATUS_CHUNK_LENGTH): Generator<string, void> {
  let chunk = formatDevice(device);
  for (const status of device.peerStatuses()) {
    chunk += formatPeer(status);
    if (chunk.length < chunkLength) continue;
    yield chunk;
    chunk = '';
  }
  yield chunk + formatErrno('get', null);
}

function formatDevice<P>(device: UapiDevice<P>): string {
  const privateKey = device.privateKeyHex();
  const port = device.listenPort();
  const mark = device.fwmark();
  return (
    (privateKey === null ? '' : `private_key=${privateKey}\n`) +
    (port === 0 ? '' : `listen_port=${port}\n`) +
    (mark === 0 ? '' : `fwmark=${mark}\n`)
  );
}

function formatPeer(peer: UapiPeerStatus): string {
  const { seconds, nanoseconds } = split(peer.lastHandshake);
  let lines =
    `public_key=${peer.publicKeyHex}\n` +
    `preshared_key=${peer.presharedKeyHex}\n` +
    'protocol_version=1\n' +
    (peer.endpoint === null ? '' : `endpoint=${peer.endpoint}\n`) +
    `last_handshake_time_sec=${seconds}\n` +
    `last_handshake_time_nsec=${nanoseconds}\n` +
    `tx_bytes=${peer.txBytes}\n` +
    `rx_bytes=${peer.rxBytes}\n` +
    `persistent_keepalive_interval=${peer.persistentKeepaliveSeconds}\n`;
  for (const prefix of peer.allowedIps) lines += `allowed_ip=${prefix}\n`;
  return lines;
}

/** Seconds and nanoseconds since the epoch; 0 and 0 for never. */
function split(time: WallTime | null): { seconds: number; nanoseconds: number } {
  if (time === null) return { seconds: 0, nanoseconds: 0 };
  const seconds = Math.floor(time / 1000);
  return { seconds, nanoseconds: Math.floor((time - seconds * 1000) * 1_000_000) };
}
