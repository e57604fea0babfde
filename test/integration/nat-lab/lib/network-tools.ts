// Many lines for one namespace in one process: `ip -batch`, `nft -f`, `sysctl`. What they read goes through files of the laboratory.

import type { Host } from '../../../interop/lib/lab.ts';

let filesMade = 0;

/** Lines of `ip` without the word itself, in order. */
export async function ipBatch(host: Host, lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  const path = host.lab.file(`ip-${filesMade++}`, `${lines.join('\n')}\n`);
  await host.must(['ip', '-batch', path]);
}

/** All or nothing. */
export async function applyRuleset(host: Host, ruleset: string): Promise<void> {
  const path = host.lab.file(`nft-${filesMade++}`, `${ruleset}\n`);
  await host.must(['nft', '-f', path]);
}

/** A namespace that passes packets on, whatever address they come from. */
export async function makeRouter(host: Host): Promise<void> {
  await host.must([
    'sysctl',
    '-qw',
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
    ...['all', 'default'].flatMap((which) => [
      `net.ipv4.conf.${which}.rp_filter=0`,
      `net.ipv4.conf.${which}.send_redirects=0`,
    ]),
  ]);
}
