// Why a path is not used, one word each: the fixed list of `warren why`. What each means and what would mend it: docs/why.md. Which of
// them is said of a path is decided in src/path/why.ts.

export const PATH_CAUSES = [
  'untested', // not probed yet
  'works', // it answers; another is better
  'noCandidate', // the peer has told no address of this kind or family
  'noFamily', // this machine has no address of the family
  'elsewhere', // a private address of another network than ours
  'mappingVaries', // both NATs map by destination: neither can say where it is reached
  'filtered', // probes go out and none of the peer's comes in: a firewall or NAT drops them
  'udpBlocked', // no UDP leaves this machine's network, or the peer's
  'oneWay', // the peer's packets arrive here by this path, and ours do not arrive there
  'mtuBlackHole', // small probes are answered and large ones are not
  'hairpin', // both are behind one NAT that does not turn packets round, and it is its outer address
  'policy', // forbidden by the network's policy
  'clock', // a clock is off: handshakes are refused as replayed
  'keyExpired', // the peer's key, or ours, has expired
  'peerOffline', // the controller does not hear from the peer, and neither do we
  'noRelay', // no relay is known or reachable
  'relayRefused', // the relay knows us or the peer not, or is full
  'silent', // it worked, then fell silent
  'worse', // it works, and its round trip is longer
] as const;
export type PathCause = (typeof PATH_CAUSES)[number];
