// What the mesh engine counts: network input that came to nothing, by reason, and what it did. Never logged one by one;
// leaves out what the WireGuard engine and the plane count themselves.

export const MESH_COUNTERS = [
  'initiationsElsewhere', // copies that went to candidates beside the endpoint
  'punchesSent',
  'punchesAnswered',
  'punchesParked', // of a node that the netmap does not know yet
  'punchesLimited',
  'indicationsSent',
  'pingsSent',
  'pingsAnswered',
  'pingsLimited',
  'pongsMatched',
  'pongsUnexpected',
  'framesUnknown', // of a kind or version that is not known
  'framesMalformed',
  'relayFramesUnexpected', // of a relay that was not asked, or of a peer that is none
  'relaysChosen', // a home, the first included
  'relaysSilent', // a relay that did not answer
  'relaysRefused', // that did not give us a place
  'probesSent', // pings to remotes of peers
  'mtuProbesSent',
  'probesRefused', // held back for the budget
  'probesFailed', // a session that nobody answered for by any path: a new attempt
  'remotesRefused', // more places of one peer than are remembered
  'unprovedLimited', // initiations and indications that were too many for one peer
  'peersUnattached', // records that cannot be peers: our own key, a key twice, too many
  'addressesRefused', // of a peer, outside of the network
] as const;
export type MeshCounter = (typeof MESH_COUNTERS)[number];

export class MeshCounters {
  readonly counts: Record<MeshCounter, number> = Object.fromEntries(MESH_COUNTERS.map((name) => [name, 0])) as Record<
    MeshCounter,
    number
  >;

  count(name: MeshCounter): void {
    this.counts[name]++;
  }
}
