// Candidates of a node as the others are told: what it says, without what means nothing on other machines, and the address
// that the controller sees it come from.

import { endpointParts, familyOf, formatEndpoint, type IpAddress } from '../../base/ip.ts';
import { CANDIDATES_MAX, type Candidate, isShareable } from '../../protocol/values.ts';

/** `listenPort` 0: unknown, so nothing is observed. */
export function sharedCandidates(
  own: readonly Candidate[],
  remoteAddress: IpAddress | null,
  listenPort: number,
): Candidate[] {
  const shared: Candidate[] = [];
  const seen = new Set<string>();
  for (const candidate of own) {
    if (!isShareable(candidate.endpoint) || seen.has(candidate.endpoint)) continue;
    if (isLinkLocal6(endpointParts(candidate.endpoint).address)) continue;
    seen.add(candidate.endpoint);
    shared.push(candidate);
  }
  if (remoteAddress === null || listenPort === 0 || !isWorthTelling(remoteAddress, shared)) return shared;
  const endpoint = formatEndpoint(remoteAddress, listenPort);
  if (seen.has(endpoint)) return shared;
  const kept = shared.slice(0, CANDIDATES_MAX - 1);
  kept.push({ kind: 'observed', endpoint });
  return kept;
}

export function sameCandidates(a: readonly Candidate[], b: readonly Candidate[]): boolean {
  return (
    a.length === b.length &&
    a.every((candidate, i) => candidate.kind === b[i]?.kind && candidate.endpoint === b[i]?.endpoint)
  );
}

/** A node beside the controller comes from loopback: that helps the others only if all of them are on that machine. */
function isWorthTelling(remoteAddress: IpAddress, shared: readonly Candidate[]): boolean {
  if (isLinkLocal6(remoteAddress)) return false;
  if (!isLoopback(remoteAddress)) return true;
  return shared.every(({ kind, endpoint }) => kind !== 'host' || isLoopback(endpointParts(endpoint).address));
}

function isLoopback(address: IpAddress): boolean {
  return address === '::1' || address.startsWith('127.');
}

function isLinkLocal6(address: IpAddress): boolean {
  return familyOf(address) === 6 && /^fe[89ab]/.test(address);
}
