// The NAT lab: an internet (one router), a controller's host with two public addresses, and sites behind boxes that do what
// src/sim/nat/kinds.ts says of their kind, all of them network namespaces of this test. Sites are added one after another or at
// once; everything goes with `close`.
//
//   host ─┐                                               ┌─ controllerHost
//   host ─┴─ lan │ gateway │ wan ── (gateway ── …) ── s1 │ router │ ctl

import { type Boxes, type Place, placeOf, type SiteKind } from '../../../../src/sim/nat/kinds.ts';
import { type Host, Lab } from '../../../interop/lib/lab.ts';
import {
  type Block,
  CONTROLLER_ADDRESSES,
  CONTROLLER_ROUTER,
  carrierBlock,
  LAN,
  lanBlock6,
  prefix6,
  publicBlock,
  transit,
} from './address-plan.ts';
import { startDelayLine, withoutOffloads } from './delay-line.ts';
import { Gateway } from './gateway.ts';
import { INNER_DEVICE, OUTER_DEVICE } from './gateway-rules.ts';
import { applyRuleset, ipBatch, makeRouter } from './network-tools.ts';
import { type Impairment, routerRuleset } from './router-rules.ts';
import { Site, type SiteHost } from './site.ts';

const ETHERNET_MTU = 1500;
const ROUTER_DEVICE_CONTROLLER = 'ctl';

export interface SiteOptions {
  /** How many hosts are on its LAN; 1 unless told. */
  readonly hosts?: number;
  /** Of the link between it and the internet; 1,500 unless told. A larger one is its LAN's, too. */
  readonly mtu?: number;
  /** Nobody is told that a packet was too big for that link. */
  readonly icmpBlackHole?: boolean;
  /** One way, on the link to the internet. */
  readonly delayMs?: number;
  /** Instead of the kind's. */
  readonly mappingTimeoutMs?: number;
  /** Its outer boxes are that site's, from the second on: two homes of one carrier. */
  readonly sharing?: Site;
}

/** One end of a path: a site, or the host of the controller. */
export type PathEnd = Site | 'controller';

export class NatLab {
  readonly lab: Lab;
  readonly router: Host;
  readonly controllerHost: Host;
  readonly controllerAddresses = CONTROLLER_ADDRESSES;
  readonly sites: Site[] = [];
  readonly #impairments = new Map<string, Impairment>();
  readonly #swallowedMtus: number[] = [];
  #numbered = 0;

  private constructor(lab: Lab, router: Host, controllerHost: Host) {
    this.lab = lab;
    this.router = router;
    this.controllerHost = controllerHost;
  }

  /** `name`: as of `Lab.open`. */
  static async open(name: string): Promise<NatLab> {
    const lab = Lab.open(name);
    try {
      const router = await lab.host('internet');
      await makeRouter(router);
      const controllerHost = await lab.host('ctl');
      await connect(router, ROUTER_DEVICE_CONTROLLER, controllerHost, 'eth0', ETHERNET_MTU);
      const { ipv4, ipv6 } = CONTROLLER_ADDRESSES;
      await ipBatch(router, [
        `address add ${CONTROLLER_ROUTER.ipv4}/24 dev ${ROUTER_DEVICE_CONTROLLER}`,
        `address add ${CONTROLLER_ROUTER.ipv6}/64 dev ${ROUTER_DEVICE_CONTROLLER} nodad`,
      ]);
      await ipBatch(controllerHost, [
        ...ipv4.map((address) => `address add ${address}/24 dev eth0`),
        // All but the first are for who asks for them by name.
        ...ipv6.map((address, i) => `address add ${address}/64 dev eth0 nodad${i === 0 ? '' : ' preferred_lft 0'}`),
        `route add default via ${CONTROLLER_ROUTER.ipv4}`,
        `route add default via ${CONTROLLER_ROUTER.ipv6}`,
      ]);
      return new NatLab(lab, router, controllerHost);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** `name`: unique, of letters and digits. */
  site(name: string, kind: SiteKind, options: SiteOptions = {}): Promise<Site> {
    return this.place(name, placeOf(kind), options, kind);
  }

  /** A site of any behaviour. */
  async place(name: string, place: Place, options: SiteOptions = {}, kind: SiteKind | null = null): Promise<Site> {
    const number = ++this.#numbered;
    const site = await new SiteBuilder(this, number, name, timed(place, options.mappingTimeoutMs), options).build(kind);
    this.sites.push(site);
    if (options.icmpBlackHole === true && options.mtu !== undefined) {
      this.#swallowedMtus.push(options.mtu);
      await this.#applyRouter();
    }
    return site;
  }

  /** What `from` sends to `to` is lost from now on, all or a part; the other way is left alone. */
  async drop(
    from: PathEnd,
    to: PathEnd,
    options: { readonly lossPercent?: number; readonly protocol?: 'udp' | 'all' } = {},
  ): Promise<void> {
    const [source, destination] = [deviceOf(from), deviceOf(to)];
    if (source === destination) throw new Error('these two do not meet at the router');
    const impairment: Impairment = {
      from: source,
      to: destination,
      lossPercent: options.lossPercent ?? 100,
      protocol: options.protocol ?? 'all',
    };
    this.#impairments.set(`${source} ${destination}`, impairment);
    await this.#applyRouter();
  }

  /** Both ways. */
  async cut(a: PathEnd, b: PathEnd, options: Parameters<NatLab['drop']>[2] = {}): Promise<void> {
    await this.drop(a, b, options);
    await this.drop(b, a, options);
  }

  /** All that `drop` and `cut` did between the two, or everywhere, is over. */
  async mend(a?: PathEnd, b?: PathEnd): Promise<void> {
    if (a === undefined || b === undefined) {
      this.#impairments.clear();
    } else {
      this.#impairments.delete(`${deviceOf(a)} ${deviceOf(b)}`);
      this.#impairments.delete(`${deviceOf(b)} ${deviceOf(a)}`);
    }
    await this.#applyRouter();
  }

  async close(): Promise<void> {
    await this.lab.close();
  }

  async #applyRouter(): Promise<void> {
    await applyRuleset(this.router, routerRuleset([...this.#impairments.values()], this.#swallowedMtus));
  }
}

function deviceOf(end: PathEnd): string {
  return end === 'controller' ? ROUTER_DEVICE_CONTROLLER : end.routerDevice;
}

function timed(place: Place, mappingTimeoutMs: number | undefined): Place {
  if (mappingTimeoutMs === undefined) return place;
  const boxes = (of: Boxes | null): Boxes | null => of?.map((box) => ({ ...box, mappingTimeoutMs })) ?? null;
  return { ...place, ipv4: boxes(place.ipv4), ipv6: boxes(place.ipv6) };
}

/** A cable between two namespaces. Both ends are up. */
async function connect(a: Host, deviceA: string, b: Host, deviceB: string, mtu: number): Promise<void> {
  const ends = `${deviceA} mtu ${mtu} type veth peer name ${deviceB} mtu ${mtu} netns ${b.netns}`;
  await ipBatch(a, [`link add ${ends}`, `link set ${deviceA} up`]);
  await ipBatch(b, [`link set ${deviceB} up`]);
}

/** Puts the namespaces of one site together, from the router inwards. */
class SiteBuilder {
  readonly #lab: NatLab;
  readonly #number: number;
  readonly #name: string;
  readonly #place: Place;
  readonly #options: SiteOptions;

  constructor(lab: NatLab, number: number, name: string, place: Place, options: SiteOptions) {
    this.#lab = lab;
    this.#number = number;
    this.#name = name;
    this.#place = place;
    this.#options = options;
  }

  async build(kind: SiteKind | null): Promise<Site> {
    const { ipv4, ipv6 } = this.#place;
    const { sharing } = this.#options;
    const levels = Math.max(1, ipv4?.length ?? 0, ipv6?.length ?? 0);
    if (sharing !== undefined && (sharing.gateways.length !== levels || levels < 2 || ipv6 !== null))
      throw new Error('only places with an outer box of the same kind share it, and only for IPv4');
    const blocks = this.#blocks(levels, sharing);
    const gateways: Gateway[] = sharing?.gateways.slice(1) ?? [];
    const routerDevice = sharing?.routerDevice ?? `s${this.#number}`;
    for (let level = levels - gateways.length - 1; level >= 0; level--) {
      const outer = gateways[0];
      const gateway = await this.#gateway(level, blocks[level] as Block);
      if (outer === undefined) await this.#join(gateway, level, this.#lab.router, routerDevice);
      else await this.#join(gateway, level, outer.host, `h${this.#number}`);
      gateways.unshift(gateway);
    }
    const hosts = await this.#hosts(gateways[0] as Gateway, blocks[0] as Block);
    await Promise.all(gateways.slice(0, levels - (sharing?.gateways.length ?? 1) + 1).map((one) => one.apply()));
    const { number, name, place } = { number: this.#number, name: this.#name, place: this.#place };
    return new Site({ name, kind, place, number, hosts, gateways, routerDevice });
  }

  /** The external block of each gateway, the nearest first. One that does not translate passes on the block of the next. */
  #blocks(levels: number, sharing: Site | undefined): readonly Block[] {
    const blocks: Block[] = [];
    for (let level = levels - 1; level >= 0; level--) {
      const outer = this.#place.ipv4?.[level + 1];
      const outerBlock = blocks[0];
      if (sharing !== undefined && level > 0) blocks.unshift((sharing.gateways[level] as Gateway).block);
      else if (outerBlock === undefined) blocks.unshift(publicBlock(this.#number));
      else blocks.unshift(outer?.translates === true ? carrierBlock(this.#number, level) : outerBlock);
    }
    return blocks;
  }

  async #gateway(level: number, block: Block): Promise<Gateway> {
    const host = await this.#lab.lab.host(`${this.#name}-gw${level}`);
    await makeRouter(host);
    return new Gateway(host, {
      ipv4: this.#place.ipv4?.[level] ?? null,
      ipv6: this.#place.ipv6?.[level] ?? null,
      tcpPorts: level === 0 ? this.#place.tcpPorts : 'any',
      block,
      swallowsTooBig: this.#options.icmpBlackHole === true,
    });
  }

  /** Cables a gateway to what is next on the way out, and routes both ways. */
  async #join(gateway: Gateway, level: number, outer: Host, outerDevice: string): Promise<void> {
    const { mtu = ETHERNET_MTU, delayMs } = this.#options;
    const { host, block } = gateway;
    if (delayMs !== undefined && level === 0) {
      const line = await this.#lab.lab.host(`${this.#name}-line`);
      await connect(line, 'inner', host, OUTER_DEVICE, mtu);
      await connect(line, 'outer', outer, outerDevice, mtu);
      await withoutOffloads(host, OUTER_DEVICE);
      await withoutOffloads(outer, outerDevice);
      await startDelayLine(line, ['inner', 'outer'], delayMs);
    } else {
      await connect(host, OUTER_DEVICE, outer, outerDevice, mtu);
    }
    const link = transit(this.#number, level);
    await ipBatch(outer, [
      `address add ${link.ipv4.outer}/30 dev ${outerDevice}`,
      `address add ${link.ipv6.outer}/64 dev ${outerDevice} nodad`,
      `route add ${block.prefix} via ${link.ipv4.inner}`,
      `route add ${prefix6(this.#number)} via ${link.ipv6.inner}`,
    ]);
    await ipBatch(host, [
      `address add ${link.ipv4.inner}/30 dev ${OUTER_DEVICE}`,
      `address add ${link.ipv6.inner}/64 dev ${OUTER_DEVICE} nodad`,
      `route add default via ${link.ipv4.outer}`,
      `route add default via ${link.ipv6.outer}`,
    ]);
  }

  async #hosts(gateway: Gateway, block: Block): Promise<readonly SiteHost[]> {
    const mtu = Math.max(ETHERNET_MTU, this.#options.mtu ?? 0);
    const { ipv4, ipv6 } = this.#place;
    // Behind something that translates the addresses are private, else those that the internet routes here.
    const lan4 = ipv4 === null ? null : ipv4[0]?.translates === true ? LAN : block;
    const lan6 = ipv6 === null ? null : lanBlock6(this.#number);
    const lines = (at: number, device: string): string[] => [
      ...(lan4 === null ? [] : [`address add ${lan4.at(at)}/${lan4.bits} dev ${device}`]),
      ...(lan6 === null ? [] : [`address add ${lan6.at(at)}/${lan6.bits} dev ${device} nodad`]),
    ];
    await ipBatch(gateway.host, [
      `link add ${INNER_DEVICE} mtu ${mtu} type bridge`,
      `link set ${INNER_DEVICE} up`,
      ...lines(0, INNER_DEVICE),
    ]);
    const hosts: SiteHost[] = [];
    for (let i = 0; i < (this.#options.hosts ?? 1); i++) {
      const host = await this.#lab.lab.host(i === 0 ? this.#name : `${this.#name}-${i + 1}`);
      await connect(gateway.host, `port${i}`, host, 'eth0', mtu);
      await ipBatch(gateway.host, [`link set port${i} master ${INNER_DEVICE}`]);
      await ipBatch(host, [
        ...lines(i + 1, 'eth0'),
        ...(lan4 === null ? [] : [`route add default via ${lan4.at(0)}`]),
        ...(lan6 === null ? [] : [`route add default via ${lan6.at(0)}`]),
      ]);
      hosts.push({ host, ipv4: lan4?.at(i + 1) ?? null, ipv6: lan6?.at(i + 1) ?? null });
    }
    return hosts;
  }
}
