// A cable with latency between two devices of a namespace. The kernels that this has to run on may lack netem, and nothing else in
// nft or tc delays a packet, so delay-line.py carries the frames: enough for tunnels under test, not for throughput.

import { join } from 'node:path';
import { REPOSITORY } from '../../../interop/lib/engines.ts';
import type { Host } from '../../../interop/lib/lab.ts';
import { until } from '../../../interop/lib/wait.ts';

const SCRIPT = join(REPOSITORY, 'test/integration/nat-lab/lib/delay-line.py');
const START_LIMIT_MS = 10_000;

/**
 * Resolves once frames pass. `delayMs`: each way. Whoever is at the ends has to do without offloads (`ethtool -K DEVICE tx off`): a
 * frame of which the checksum is left to a device that never comes would be thrown away.
 */
export async function startDelayLine(host: Host, devices: readonly [string, string], delayMs: number): Promise<void> {
  const child = host.start(['python3', SCRIPT, ...devices, `${delayMs}`], { stdin: 'pipe' });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-4096);
    });
  }
  await until('the delay line is ready', START_LIMIT_MS, () => {
    if (child.exitCode !== null) throw new Error(`the delay line ended: ${output}`);
    return output.includes('ready');
  });
}

export async function withoutOffloads(host: Host, device: string): Promise<void> {
  await host.must(['ethtool', '-K', device, 'tx', 'off', 'gso', 'off', 'tso', 'off']);
}
