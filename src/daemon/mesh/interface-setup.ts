// Keeps the tunnel's interface as the netmap says: its addresses and routes, once they are known to do no harm here (collisions), and
// again when somebody takes them away. One application at a time; what is asked for during one is done after it. Leaves out
// the device itself, which may be lost and made anew in the middle of it.

import { familyOf, type IpAddress, type IpPrefix } from '../../base/ip.ts';
import type { Problem } from '../../protocol/local-api.ts';
import type { Log } from '../log.ts';
import { findCollisions } from '../os/collisions.ts';
import type { HostAddress, HostNetwork, HostRoute } from './host-network.ts';
import { collisionProblem, interfaceProblem } from './problems.ts';

/** What the kernel refused is tried again after this long. */
const RETRY_MS = 5000;

export interface WantedConfiguration {
  readonly addresses: readonly IpAddress[];
  readonly prefixes: readonly IpPrefix[];
}

export interface InterfaceSetupOptions {
  readonly network: HostNetwork;
  readonly log: Log;
  readonly ifname: () => string;
  readonly wanted: () => WantedConfiguration;
  readonly onChange: () => void;
}

export class InterfaceSetup {
  readonly #options: InterfaceSetupOptions;
  /** What the interface has; '' for nothing. */
  #applied = '';
  /** Counts devices: what was done to one that is lost says nothing of the next. */
  #device = 0;
  #running = false;
  #again = false;
  #retry: NodeJS.Timeout | null = null;
  #failure: Problem | null = null;
  #collision: Problem | null = null;
  #withoutIpv6 = false;
  #closed = false;

  constructor(options: InterfaceSetupOptions) {
    this.#options = options;
  }

  /** The interface has its addresses and routes. */
  get done(): boolean {
    return this.#applied !== '';
  }

  get running(): boolean {
    return this.#running;
  }

  /** Why it has not, the cause before the consequence. A collision may also be found while it has. */
  get problem(): Problem | null {
    return this.#collision ?? this.#failure;
  }

  get collision(): Problem | null {
    return this.#collision;
  }

  /** IPv6 is switched off on this machine; its addresses were left out. */
  get withoutIpv6(): boolean {
    return this.#withoutIpv6;
  }

  close(): void {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  /** The device is gone or was set down: what it had is not there any more. */
  deviceLost(): void {
    this.#device++;
    this.#applied = '';
  }

  /** Brings the interface to what is wanted. */
  sync(): void {
    if (this.#closed) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    const wanted = this.#options.wanted();
    if (describe(wanted) === this.#applied) return;
    this.#running = true;
    this.#apply(wanted)
      .catch((error: unknown) => {
        const why = error instanceof Error ? error.message : String(error);
        this.#options.log.error('configuring the interface failed', { why });
      })
      .finally(() => {
        this.#running = false;
        const again = this.#again;
        this.#again = false;
        this.#options.onChange();
        if (again) this.sync();
      });
  }

  /** The machine's network is different: a collision may have come or gone, and our addresses may have been taken off. */
  check(addresses: readonly HostAddress[], routes: readonly HostRoute[]): void {
    const wanted = this.#options.wanted();
    this.#lookForCollision(wanted.prefixes, addresses, routes);
    if (this.#collision === null && this.done && !this.#isIntact(wanted, addresses, routes)) this.#applied = '';
    this.sync();
  }

  async #apply(wanted: WantedConfiguration): Promise<void> {
    const { network, ifname } = this.#options;
    const device = this.#device;
    const name = ifname();
    if (!this.done) {
      const [addresses, routes] = await Promise.all([network.addresses(), network.routes()]);
      this.#lookForCollision(wanted.prefixes, addresses, routes);
      if (this.#collision !== null) return;
    }
    const failure =
      (await network.setAddresses(name, wanted.addresses)) ?? (await network.setRoutes(name, wanted.prefixes));
    if (this.#closed) return;
    if (device !== this.#device) {
      this.#again = true;
      return;
    }
    this.#failure = failure === null ? null : interfaceProblem(failure.step, failure.errno);
    this.#applied = failure === null ? describe(wanted) : '';
    if (failure !== null) this.#retryLater();
    else if (this.done) await this.#lookForIpv6(name);
  }

  #retryLater(): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.sync();
    }, RETRY_MS);
  }

  /** A machine without IPv6 is a member all the same: its addresses of that family are left out in silence. */
  async #lookForIpv6(name: string): Promise<void> {
    this.#options.onChange();
    const addresses = await this.#options.network.addresses();
    this.#withoutIpv6 = !addresses.some(
      ({ ifname, address, scope }) => ifname === name && familyOf(address) === 6 && scope !== 'link',
    );
  }

  #lookForCollision(
    prefixes: readonly IpPrefix[],
    addresses: readonly HostAddress[],
    routes: readonly HostRoute[],
  ): void {
    const [collision] = findCollisions(prefixes, { addresses, routes }, this.#options.ifname());
    this.#collision = collision === undefined ? null : collisionProblem(collision);
  }

  #isIntact(all: WantedConfiguration, addresses: readonly HostAddress[], routes: readonly HostRoute[]): boolean {
    const wanted = this.#withoutIpv6 ? ipv4Of(all) : all;
    const name = this.#options.ifname();
    const ours = new Set(addresses.filter(({ ifname }) => ifname === name).map(({ address }) => address));
    const through = new Set(routes.filter(({ ifname }) => ifname === name).map(({ prefix }) => prefix));
    return (
      wanted.addresses.every((address) => ours.has(address)) && wanted.prefixes.every((prefix) => through.has(prefix))
    );
  }
}

function ipv4Of({ addresses, prefixes }: WantedConfiguration): WantedConfiguration {
  return {
    addresses: addresses.filter((address) => familyOf(address) === 4),
    prefixes: prefixes.filter((prefix) => familyOf(prefix) === 4),
  };
}

/** '' for nothing: what a new interface has. */
function describe({ addresses, prefixes }: WantedConfiguration): string {
  return [...addresses, ...prefixes].join(' ');
}
