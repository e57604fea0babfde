// One box of a site: a namespace between an inner network and an outer link, with the rules that make it behave. Its state is the
// kernel's: what it has learnt goes with `reboot`. Leaves out how it is cabled: see nat-lab.ts.

import type { NatBehaviour } from '../../../../src/sim/nat/kinds.ts';
import type { Host } from '../../../interop/lib/lab.ts';
import { type Block, PUBLIC_ADDRESSES } from './address-plan.ts';
import { type GatewayRules, gatewayRuleset, type Ports, plugRuleset } from './gateway-rules.ts';
import { applyRuleset } from './network-tools.ts';

/** Ports that a gateway takes after `moveToPorts`, range after range. */
const PORT_RANGE = { first: 30_000, size: 1_000, count: 20 } as const;

export interface GatewayOptions {
  readonly ipv4: NatBehaviour | null;
  readonly ipv6: NatBehaviour | null;
  readonly tcpPorts: 'any' | readonly number[];
  readonly block: Block;
  readonly swallowsTooBig: boolean;
}

export class Gateway {
  readonly host: Host;
  readonly block: Block;
  #options: GatewayOptions;
  #address = 0;
  #ports: Ports | null = null;
  #portRanges = 0;
  #plugged = true;

  constructor(host: Host, options: GatewayOptions) {
    this.host = host;
    this.block = options.block;
    this.#options = options;
  }

  /** What it translates to; means something only if it does. */
  get address(): string {
    return this.block.at(this.#address);
  }

  get behaviour(): { readonly ipv4: NatBehaviour | null; readonly ipv6: NatBehaviour | null } {
    return this.#options;
  }

  /** Puts the rules in force and forgets every mapping. */
  async apply(): Promise<void> {
    const { ipv4, ipv6, tcpPorts, block, swallowsTooBig } = this.#options;
    const rules: GatewayRules = {
      ipv4,
      ipv6,
      external: { address: this.address, block: block.prefix },
      ports: this.#ports,
      tcpPorts,
      swallowsTooBig,
    };
    const timeoutMs = Math.min(...[ipv4, ipv6].map((box) => box?.mappingTimeoutMs ?? Number.POSITIVE_INFINITY));
    // Nothing passes in between: a flow that goes on would teach the new rules its old mapping.
    await applyRuleset(this.host, `${gatewayRuleset(rules)}\n${plugRuleset(false)}`);
    if (Number.isFinite(timeoutMs)) await this.#setTimeout(timeoutMs);
    await this.flush();
    if (this.#plugged) await applyRuleset(this.host, plugRuleset(true));
  }

  /** Forgets every flow and mapping, as a reboot does. Addresses stay. */
  async reboot(): Promise<void> {
    await this.apply();
  }

  /** Another public address, and so another mapping for everything: a line that was dialled anew. */
  async moveToAddress(): Promise<void> {
    this.#address = (this.#address + 1) % PUBLIC_ADDRESSES;
    await this.apply();
  }

  /** Other ports for everything, at the same address. */
  async moveToPorts(): Promise<void> {
    const first = PORT_RANGE.first + (this.#portRanges++ % PORT_RANGE.count) * PORT_RANGE.size;
    this.#ports = { first, last: first + PORT_RANGE.size - 1 };
    await this.apply();
  }

  /** Becomes another box, with nothing learnt. */
  async become(change: Partial<Pick<GatewayOptions, 'ipv4' | 'ipv6' | 'tcpPorts'>>): Promise<void> {
    this.#options = { ...this.#options, ...change };
    await this.apply();
  }

  /** Nothing passes any more, or again; what it has learnt stays. (A link that is down would take the routes with it.) */
  async plug(inserted: boolean): Promise<void> {
    this.#plugged = inserted;
    await applyRuleset(this.host, plugRuleset(inserted));
  }

  /** How many UDP flows it knows. */
  async udpFlows(): Promise<number> {
    const list = await this.host.must(['conntrack', '-L', '-p', 'udp']);
    return list.split('\n').filter(Boolean).length;
  }

  /** Connection tracking alone; what was learnt beside it is in the ruleset, and goes with `apply`. */
  async flush(): Promise<void> {
    await this.host.must(['conntrack', '-F']);
  }

  async #setTimeout(timeoutMs: number): Promise<void> {
    const seconds = Math.max(1, Math.round(timeoutMs / 1000));
    const names = ['udp_timeout', 'udp_timeout_stream'];
    await this.host.must(['sysctl', '-qw', ...names.map((name) => `net.netfilter.nf_conntrack_${name}=${seconds}`)]);
  }
}
