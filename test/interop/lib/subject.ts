// Which implementation is tested against which, and whether this machine can run the tests at all. WARREN_INTEROP_SUBJECT
// puts another implementation in Warren's place, to tell a fault of the harness from one of ours.

import { type Implementation, implementationLabel } from './engines.ts';
import { run } from './shell.ts';

const IMPLEMENTATIONS: readonly Implementation[] = ['warren', 'wireguard-go', 'wireguard-go-latest'];

function chosenSubject(): Implementation {
  const wanted = process.env['WARREN_INTEROP_SUBJECT'] ?? 'warren';
  const found = IMPLEMENTATIONS.find((implementation) => implementation === wanted);
  if (found === undefined) throw new Error(`WARREN_INTEROP_SUBJECT must be one of ${IMPLEMENTATIONS.join(', ')}`);
  return found;
}

/** What is tested. */
export const SUBJECT = chosenSubject();

/** What it is tested against. */
export const PEERS: readonly Implementation[] = ['wireguard-go', 'wireguard-go-latest', SUBJECT];

/** Namespaces need root, here or in a user namespace (`unshare -Urnm`); without, the tests are skipped and say so. */
export const CAN_RUN = await (async (): Promise<boolean> => {
  const name = `wrn-probe-${process.pid}-x`;
  if ((await run(['ip', 'netns', 'add', name])).code !== 0) {
    process.stderr.write('interop tests are skipped: network namespaces need root (sudo, or unshare -Urnm)\n');
    return false;
  }
  await run(['ip', 'netns', 'del', name]);
  return true;
})();

export async function describePeers(): Promise<string> {
  const labels = await Promise.all(PEERS.map(implementationLabel));
  return labels.join(', ');
}
