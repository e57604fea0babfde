// What this machine tells the others of where it is: the addresses of its interfaces, what gateways have mapped, what STUN servers and peers see,
// and its home relay; with the NAT in front of it in one word. Asks STUN servers and gateways when there is reason to. Leaves out
// which interface addresses are of use (candidates.ts), and the telling. Where UDP is blocked it has relays reached in another way.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Instant } from '../../base/instant.ts';
import { type Endpoint, type IpAddress, parseAddress } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import type { MeshEngine } from '../../mesh/mesh-engine.ts';
import type { Home, Reach } from '../../protocol/reach.ts';
import { CANDIDATES_MAX, type Candidate, type NodeId } from '../../protocol/values.ts';
import type { Log } from '../log.ts';
import type { PortMapper } from '../portmap/port-mapper.ts';
import { ObservedAddresses } from './observed-addresses.ts';
import { type BridgedRelay, RelayBridges } from './relay-bridges.ts';
import { StunDriver } from './stun-driver.ts';

export interface WhereaboutsOptions {
  readonly random: RandomSource;
  readonly now: () => Instant;
  readonly log: Log;
  /** Null once the node is closed. */
  readonly mesh: () => MeshEngine | null;
  /** Null: no gateway is asked. */
  readonly portMapper: PortMapper | null;
  /** What is told may be different now. */
  readonly onChange: () => void;
}

export class Whereabouts {
  readonly stun: StunDriver;
  readonly portMapper: PortMapper | null;
  readonly #onChange: () => void;
  readonly #observed = new ObservedAddresses();
  readonly #stopMapper: () => void;
  readonly #bridges: RelayBridges;
  #hosts: readonly Candidate[] = [];
  #home: Home | null = null;
  #closed = false;

  constructor(options: WhereaboutsOptions) {
    const { log, random, now, mesh, portMapper, onChange } = options;
    this.#onChange = onChange;
    this.portMapper = portMapper;
    this.stun = new StunDriver({
      random,
      now,
      send: (to, datagram) => mesh()?.sendStun(to, datagram) === true,
      local: () => this.#hosts.map(({ endpoint }) => endpoint),
      onFindings: () => {
        this.#bridges.update();
        onChange();
      },
    });
    this.#bridges = new RelayBridges({
      log,
      relays: () => relaysOf(mesh(), now()),
      udp: () => this.stun.findings.udp,
      hasHome: () => mesh()?.home != null,
      planePort: () => mesh()?.listenPort() ?? 0,
      override: (id, endpoint) => mesh()?.setRelayOverride(id, endpoint, now()),
    });
    this.#stopMapper = portMapper?.onChange(onChange) ?? (() => undefined);
  }

  get home(): Home | null {
    return this.#home;
  }

  setHome(home: Home | null): void {
    this.#home = home;
    this.#bridges.update();
    this.#onChange();
  }

  /** Where the controller was reached, and the ports at which it answers STUN there and at its other addresses. */
  setController(url: string, reachedAt: IpAddress | null, stunPorts: readonly number[]): void {
    const known = reachedAt === null ? [] : [reachedAt];
    this.stun.setServers(known, stunPorts);
    if (stunPorts.length === 0) return;
    const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
    if (isIP(host) !== 0) return;
    // One connection shows one family alone.
    lookup(host, { all: true }).then(
      (found) => {
        const others = found.map(({ address }) => parseAddress(address)).filter((address) => address !== null);
        if (!this.#closed) this.stun.setServers([...known, ...others], stunPorts);
      },
      () => undefined,
    );
  }

  /** The netmap is another. */
  relaysMayDiffer(): void {
    this.#bridges.update();
  }

  /** A peer or relay saw us come from there. True when what is told may be different. */
  saw(seen: { readonly id: NodeId; readonly endpoint: Endpoint }): boolean {
    return this.#observed.saw(seen);
  }

  /** The tunnel listens at `port`; what others saw was true of the network before. */
  networkChanged(port: number): void {
    this.#observed.clear();
    this.#bridges.networkChanged();
    this.stun.restart();
    this.portMapper?.request(port);
  }

  /** Begins, once the tunnel's port is known. */
  listening(port: number): void {
    this.portMapper?.request(port);
  }

  /** `hosts`: of the interfaces, the likeliest first. What is surer comes before what is guessed. */
  candidates(hosts: readonly Candidate[]): Candidate[] {
    this.#hosts = hosts;
    const told = new Set<Endpoint>(hosts.map(({ endpoint }) => endpoint));
    const found: Candidate[] = [];
    const add = (kind: Candidate['kind'], endpoint: Endpoint): void => {
      if (told.has(endpoint)) return;
      told.add(endpoint);
      found.push({ kind, endpoint });
    };
    for (const { endpoint } of this.portMapper?.mappings ?? []) add('mapped', endpoint);
    for (const endpoint of this.stun.findings.reflexive) add('reflexive', endpoint);
    const kept = hosts.slice(0, Math.max(1, CANDIDATES_MAX - found.length));
    return this.#observed.addTo([...kept, ...found].slice(0, CANDIDATES_MAX));
  }

  get reach(): Reach {
    const { mapping, udp } = this.stun.findings;
    return { home: this.#home, mapping, udp, url: null };
  }

  /** Resolves when the gateways have been told, within a second. */
  async close(): Promise<void> {
    this.#closed = true;
    this.stun.close();
    this.#bridges.close();
    this.#stopMapper();
    await this.portMapper?.stop();
  }
}

function relaysOf(mesh: MeshEngine | null, now: Instant): BridgedRelay[] {
  const statuses = mesh === null ? [] : [...mesh.relayStatuses(now)];
  return statuses.map(({ id, node }) => ({ id, url: node.reach?.url ?? null }));
}
