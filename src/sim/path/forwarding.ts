// What a relay forwards: only what came, byte for byte, from the present address of somebody who has proved its key there; and
// it goes only to the address of another who has. Who really sent a datagram is known here, whatever its source says.

import { toHex } from '../../base/bytes.ts';
import type { Endpoint } from '../../base/ip.ts';
import { RELAY_HEADER_BYTES, RELAY_MESSAGE_TYPE } from '../../base/relayed.ts';
import type { Datagram, Machine } from '../nat/sites.ts';
import type { PathWorld } from './path-world.ts';
import type { RelayHost } from './relay-host.ts';

export class Forwarding {
  readonly #world: PathWorld;
  /** Of the datagram that the relay is handling: what is inside, and whether its source had proved itself. */
  #arrival: {
    readonly relay: RelayHost;
    readonly inner: string;
    readonly proven: boolean;
    readonly from: Machine;
  } | null = null;
  readonly counts = { arrived: 0, forwarded: 0 };

  constructor(world: PathWorld) {
    this.#world = world;
  }

  arrived(relay: RelayHost, { bytes, source }: Datagram, from: Machine): void {
    this.#arrival = null;
    if (bytes[0] !== RELAY_MESSAGE_TYPE || bytes.length <= RELAY_HEADER_BYTES) return;
    this.counts.arrived++;
    const inner = toHex(bytes.subarray(RELAY_HEADER_BYTES));
    this.#arrival = { relay, inner, from, proven: this.#hasUser(relay, source) };
  }

  forwarded(relay: RelayHost, bytes: Uint8Array, destination: Endpoint): void {
    // One that misbehaves does so on purpose.
    if (relay.tampers !== null) return;
    this.counts.forwarded++;
    const arrival = this.#arrival;
    if (arrival === null || arrival.relay !== relay || toHex(bytes.subarray(RELAY_HEADER_BYTES)) !== arrival.inner) {
      this.#world.violated(`${relay.name} sent a relayed datagram that has not come to it`);
    } else if (!arrival.proven) {
      this.#world.violated(`${relay.name} forwarded for ${arrival.from.name}, which has proved nothing there`);
    } else if (!this.#hasUser(relay, destination)) {
      this.#world.violated(`${relay.name} forwarded to ${destination}, where nobody has proved anything`);
    }
  }

  /** Whether a member with a session is at that address, by the relay's own records. */
  #hasUser(relay: RelayHost, endpoint: Endpoint): boolean {
    for (const status of relay.running?.engine.memberStatuses() ?? []) {
      if (status.slot && status.endpoint === endpoint) return true;
    }
    return false;
  }
}
