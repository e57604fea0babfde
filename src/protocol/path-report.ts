// What the daemon's local API says of paths: `warren why PEER` and `warren netcheck`. Types alone, as in local-api.ts: the CLI reads what a
// daemon of its own machine says.

import type { PathCause } from './causes.ts';
import type { Mapping } from './reach.ts';

export interface RemoteReport {
  /** Where our packets on it leave from, as far as it is known: what the peer sees, or an address of ours. */
  readonly local: string | null;
  /** An endpoint, or for a relayed one `relay NAME`. */
  readonly remote: string;
  readonly kind: 'host' | 'observed' | 'reflexive' | 'mapped' | 'seen' | 'relay';
  readonly state: 'untested' | 'probing' | 'works' | 'active' | 'failed' | 'lost';
  readonly cause: PathCause;
  readonly rttMs: number | null;
  /** Oldest first; bounded. */
  readonly history: readonly RemoteChange[];
}

export interface RemoteChange {
  /** ISO 8601. */
  readonly at: string;
  readonly state: RemoteReport['state'];
  readonly cause: PathCause;
  readonly rttMs: number | null;
}

export interface WhyReport {
  readonly peer: {
    readonly id: number;
    readonly name: string;
    readonly addresses: readonly string[];
    readonly online: boolean;
    readonly state: 'idle' | 'connecting' | 'established';
    readonly lastHandshake: string | null;
  };
  /** The path in use; null while there is none. */
  readonly path: {
    readonly kind: 'direct' | 'relay';
    readonly endpoint: string;
    /** Name of the relay. */
    readonly relay: string | null;
    readonly rttMs: number | null;
    /** Largest inner packet that it carries; null while unknown. */
    readonly mtu: number | null;
    /** ISO 8601. */
    readonly since: string | null;
  } | null;
  readonly candidates: readonly RemoteReport[];
  /** What keeps the pair from a direct path, the first cause the weightiest; empty when it has one. */
  readonly causes: readonly PathCause[];
  /** One sentence for a person. */
  readonly summary: string;
  /** What would mend it, a sentence each. */
  readonly advice: readonly string[];
}

export interface NetcheckReport {
  readonly udp: 'works' | 'blocked' | 'unknown';
  readonly mapping: Mapping;
  readonly filtering: 'none' | 'independent' | 'dependent' | 'unknown';
  /** Where the internet sees this machine's tunnel come from. */
  readonly reflexive: { readonly ipv4: string | null; readonly ipv6: string | null };
  readonly interfaces: readonly { readonly kind: string; readonly endpoint: string }[];
  readonly stun: readonly {
    readonly server: string;
    readonly reflexive: string | null;
    readonly rttMs: number | null;
    readonly error: string | null;
  }[];
  readonly relays: readonly RelayStatus[];
  readonly portMapping: readonly {
    readonly protocol: 'pcp' | 'natpmp' | 'upnp';
    readonly gateway: string | null;
    readonly state: string;
    readonly external: string | null;
    readonly why: string | null;
  }[];
  readonly advice: readonly string[];
}

export interface RelayStatus {
  readonly id: number;
  readonly name: string;
  /** Home: where the others reach this machine by relay. */
  readonly home: boolean;
  readonly state: 'idle' | 'connecting' | 'established';
  readonly endpoint: string | null;
  readonly via: 'udp' | 'websocket' | null;
  readonly rttMs: number | null;
  readonly rxBytes: number;
  readonly txBytes: number;
}
