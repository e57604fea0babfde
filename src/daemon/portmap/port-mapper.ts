// What the daemon wants of port mappings: that the gateway leads a port of its outer address to the tunnel's port, for as long as the
// node is up, and words about it for `warren netcheck`. An interface alone; host-port-mapper.ts does it with sockets.

import type { Instant } from '../../base/instant.ts';
import type { PortMapping, PortMapStatus } from '../../path/portmap/mapping.ts';

export type { PortMapProtocol, PortMapping, PortMapState, PortMapStatus } from '../../path/portmap/mapping.ts';

export interface PortMapper {
  /**
   * Asks the gateways for this UDP port of ours, in the background. To be called again when the network changed, when the machine
   * woke, or when the port is another one: what is there at the same gateway is renewed, the rest is made anew.
   */
  request(port: number): void;
  /** Deletes the mappings. Resolves when the gateways have confirmed it, and after a second in any case; never rejects. */
  stop(): Promise<void>;
  /** Those that others can use, the best first; one per gateway as a rule. Not those of a double NAT, which `status` has. */
  readonly mappings: readonly PortMapping[];
  /** `listener` is called when `mappings` or `status` became different. Gives its end. */
  onChange(listener: () => void): () => void;
  /** What each protocol came to, per gateway; without a gateway one entry each that says so. */
  status(): readonly PortMapStatus[];
}

/** `ifname`: of the tunnel, as it is named now. `now` counts suspend. */
export type CreatePortMapper = (of: { readonly ifname: () => string; readonly now: () => Instant }) => PortMapper;
