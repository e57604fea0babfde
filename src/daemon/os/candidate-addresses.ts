// Which of the host's addresses another node may try: those of interfaces that are up and not ours, usable now and by
// others. Pure. Lasting addresses come before temporary ones, which privacy extensions replace within a day. Leaves out the
// port, and addresses that others have seen us by (STUN).

import { familyOf, type IpAddress } from '../../base/ip.ts';
import type { HostAddress } from '../mesh/host-network.ts';

/** A host with more (containers, virtual machines) offers the first of them. */
export const CANDIDATE_ADDRESSES_MAX = 32;

/** `exclude`: names of interfaces whose addresses are none, our own before all. In the kernel's order otherwise. */
export function candidateAddresses(
  addresses: readonly HostAddress[],
  exclude: ReadonlySet<string>,
): readonly IpAddress[] {
  const usable = addresses.filter((one) => !exclude.has(one.ifname) && isUsable(one));
  const lasting = usable.filter((one) => !one.temporary);
  const temporary = usable.filter((one) => one.temporary);
  // The same address on two interfaces (a bridge and its port, a failover pair) is one candidate.
  return [...new Set([...lasting, ...temporary].map((one) => one.address))].slice(0, CANDIDATE_ADDRESSES_MAX);
}

function isUsable(one: HostAddress): boolean {
  if (!one.up || one.loopback || one.tentative || one.deprecated) return false;
  // A link-local IPv4 address (169.254/16) works between neighbours; an IPv6 one needs a zone that only its own host knows.
  return one.scope === 'global' || one.scope === 'site' || (one.scope === 'link' && familyOf(one.address) === 4);
}
