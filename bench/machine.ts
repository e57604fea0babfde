// What the bench ran on; printed with every result, because figures of different machines cannot be compared. How busy the
// machine was beforehand is part of it: noise that is known is half as bad.

import { existsSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { WARREN } from '../test/interop/lib/engines.ts';
import { run } from '../test/interop/lib/shell.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGigabytes: number;
  /** Over the minute before the bench: what others were doing with the machine. */
  readonly loadBefore: number;
  readonly kernel: string;
  readonly node: string;
  readonly iperf3: string;
  /** Which AEAD implementation Warren chose on this CPU; null when it does not say. */
  readonly aeadTier: string | null;
  readonly warren: string | null;
}

interface WarrenVersion {
  readonly version?: string;
  readonly aead?: string | null;
}

async function warrenVersion(): Promise<WarrenVersion> {
  if (!existsSync(WARREN)) return {};
  const { code, stdout } = await run([process.execPath, WARREN, 'version', '--json']);
  if (code !== 0) return {};
  try {
    return JSON.parse(stdout) as WarrenVersion;
  } catch {
    return {};
  }
}

export async function describeMachine(): Promise<Machine> {
  const version = await warrenVersion();
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGigabytes: Math.round(totalmem() / 2 ** 30),
    loadBefore: loadavg()[0] ?? 0,
    kernel: release(),
    node: process.version,
    iperf3: /iperf (\S+)/.exec((await run(['iperf3', '--version'])).stdout)?.[1] ?? 'unknown',
    aeadTier: version.aead ?? null,
    warren: version.version ?? null,
  };
}
