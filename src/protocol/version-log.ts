// The versions of the control protocol, newest last. A version is added when a reader of the one before would
// misunderstand; a field that may be ignored needs none, only a line here.

export interface VersionEntry {
  readonly version: number;
  /** ISO 8601. */
  readonly date: string;
  readonly change: string;
}

export const VERSION_LOG: readonly VersionEntry[] = [
  {
    version: 1,
    date: '2026-11-26',
    change: 'register, candidates, punch, rotateKey, goodbye, ack; welcome, snapshot, delta',
  },
  // Since, for readers that know it: welcome.stunPorts, UDP ports at which the controller answers STUN. A node puts them behind
  // the addresses to which its control connection goes. Absent: none.
];

export const PROTOCOL_VERSION = (VERSION_LOG.at(-1) as VersionEntry).version;
/** Older nodes are told to upgrade. */
export const PROTOCOL_VERSION_MIN = 1;
