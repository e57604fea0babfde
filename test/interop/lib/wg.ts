// The stock `wg` tool as the tests use it: keys, configuration, and `wg show IFNAME dump` as data. Keys go through files
// of the laboratory, never through arguments.

import { execFileSync } from 'node:child_process';
import type { Engine } from './engines.ts';

export interface Keys {
  readonly privateKey: string;
  readonly publicKey: string;
}

export function makeKeys(): Keys {
  const privateKey = execFileSync('wg', ['genkey'], { encoding: 'utf8' }).trim();
  const publicKey = execFileSync('wg', ['pubkey'], { encoding: 'utf8', input: privateKey }).trim();
  return { privateKey, publicKey };
}

export function makePresharedKey(): string {
  return execFileSync('wg', ['genpsk'], { encoding: 'utf8' }).trim();
}

let filesMade = 0;

export function secretFile(engine: Engine, secret: string): string {
  return engine.host.lab.file(`secret-${filesMade++}`, `${secret}\n`);
}

export async function wgSet(engine: Engine, ...args: readonly string[]): Promise<void> {
  await engine.host.must(['wg', 'set', engine.interfaceName, ...args]);
}

/** `wg setconf`, `addconf` or `syncconf` with a configuration in wg(8)'s format. */
export async function wgConfigure(
  engine: Engine,
  command: 'setconf' | 'addconf' | 'syncconf',
  configuration: string,
): Promise<void> {
  const path = engine.host.lab.file(`conf-${filesMade++}`, configuration);
  await engine.host.must(['wg', command, engine.interfaceName, path], { timeoutMs: 60_000 });
}

export interface PeerDump {
  readonly publicKey: string;
  readonly presharedKey: string | null;
  readonly endpoint: string | null;
  readonly allowedIps: readonly string[];
  /** Seconds since the epoch; 0 = never. */
  readonly latestHandshake: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly persistentKeepalive: number;
}

export interface DeviceDump {
  readonly privateKey: string | null;
  readonly publicKey: string | null;
  readonly listenPort: number;
  /** As wg prints it: hexadecimal, or `off`. */
  readonly fwmark: string;
  readonly peers: readonly PeerDump[];
}

function orNull(text: string | undefined): string | null {
  return text === undefined || text === '(none)' ? null : text;
}

export function parseDump(text: string): DeviceDump {
  const [first, ...rest] = text.trimEnd().split('\n');
  const device = (first ?? '').split('\t');
  const peers = rest.map((line): PeerDump => {
    const field = line.split('\t');
    const allowed = orNull(field[3]);
    return {
      publicKey: field[0] ?? '',
      presharedKey: orNull(field[1]),
      endpoint: orNull(field[2]),
      allowedIps: allowed === null ? [] : allowed.split(','),
      latestHandshake: Number(field[4]),
      rxBytes: Number(field[5]),
      txBytes: Number(field[6]),
      persistentKeepalive: field[7] === 'off' ? 0 : Number(field[7]),
    };
  });
  return {
    privateKey: orNull(device[0]),
    publicKey: orNull(device[1]),
    listenPort: Number(device[2]),
    fwmark: device[3] ?? '',
    peers,
  };
}

export async function wgDump(engine: Engine): Promise<DeviceDump> {
  return parseDump(await engine.host.must(['wg', 'show', engine.interfaceName, 'dump'], { timeoutMs: 60_000 }));
}

/** The only peer of an interface that has one. */
export async function onlyPeer(engine: Engine): Promise<PeerDump> {
  const { peers } = await wgDump(engine);
  const [peer] = peers;
  if (peer === undefined || peers.length !== 1) throw new Error(`${engine.interfaceName} has ${peers.length} peers`);
  return peer;
}
