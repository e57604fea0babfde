// The lab's places are what they are called: each box behaves, seen from outside with plain UDP sockets, as RFC 4787's terms in
// kinds.ts say, every combination of them can be had, and two places meet exactly when permits.ts says so. No Warren here: what
// tests of Warren find out later, they find out on this ground.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Boxes, Dependence, NatBehaviour, PortAllocation } from '../../../src/sim/nat/kinds.ts';
import { SITE_KINDS } from '../../../src/sim/nat/kinds.ts';
import { permits } from '../../../src/sim/nat/permits.ts';
import { CAN_RUN } from '../../interop/lib/subject.ts';
import { type Discovered, discover, punch } from './lib/discover.ts';
import type { SiteHost } from './lib/site.ts';
import { UdpAgent } from './lib/udp-agent.ts';
import { commonFamilies, expectation, type Inhabited, openWorld, socketsOf, type World } from './lib/world.ts';

const DEPENDENCES: readonly Dependence[] = ['independent', 'address', 'addressAndPort'];
const ALLOCATIONS: readonly PortAllocation[] = ['preserve', 'sequential', 'random'];

/** What a third party can see of boxes one behind the other: the least regular mapping, the strictest filter. */
function seenFromOutside(boxes: Boxes): Discovered | null {
  if (!boxes.every((box) => box.udp)) return null;
  const translating = boxes.filter((box) => box.translates);
  const worst = (of: (box: NatBehaviour) => Dependence, among: Boxes): Dependence =>
    DEPENDENCES[Math.max(0, ...among.map((box) => DEPENDENCES.indexOf(of(box))))] as Dependence;
  const allocations = translating.map((box) => box.portAllocation);
  return {
    translates: translating.length > 0,
    mapping: worst((box) => (box.portAllocation === 'preserve' ? 'independent' : box.mapping), translating),
    filtering: worst((box) => box.filtering, boxes),
    portAllocation: allocations.findLast((allocation) => allocation !== 'preserve') ?? 'preserve',
  };
}

describe.skipIf(!CAN_RUN)('the places of the NAT lab', () => {
  let world: World;
  beforeAll(async () => {
    world = await openWorld('natplaces');
  });
  afterAll(async () => {
    await world?.lab.close();
  });

  test.each(SITE_KINDS)('%s is seen from outside as what it is', async (kind) => {
    const { agent, site } = world.of(kind);
    const { ipv4, ipv6 } = site.place;
    if (ipv4 !== null) expect(await discover(agent, world.reflector, 4)).toEqual(seenFromOutside(ipv4));
    if (ipv6 !== null) expect(await discover(agent, world.reflector, 6)).toEqual(seenFromOutside(ipv6));
    expect([ipv4 !== null, ipv6 !== null]).toEqual([site.first.ipv4 !== null, site.first.ipv6 !== null]);
  });

  test('every pair of places meets exactly when it is permitted', async () => {
    const wrong: string[] = [];
    const mute = new Set<Inhabited>();
    for (const one of world.inhabited) {
      const families = commonFamilies(one.site.place, one.site.place);
      const sockets = await Promise.all(families.map((family) => one.agent.open({ family })));
      const seen = await Promise.all(sockets.map((socket) => world.reflector.where(socket)));
      if (seen.every((at) => at === null)) mute.add(one);
    }
    for (const [i, a] of world.inhabited.entries()) {
      for (const b of world.inhabited.slice(i + 1)) {
        let met = false;
        for (const family of mute.has(a) || mute.has(b) ? [] : commonFamilies(a.site.place, b.site.place))
          met ||= await punch(await socketsOf(a, b, family), world.reflector);
        const { path } = expectation(a.site, b.site);
        if (met !== (path === 'direct')) wrong.push(`${a.site.name} and ${b.site.name}: ${path} expected`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('any mapping, filtering and allocation can be had from a gateway', async () => {
    const { site, agent } = world.of('portRestricted');
    const usual = site.gateway.behaviour;
    for (const mapping of DEPENDENCES)
      for (const filtering of DEPENDENCES)
        for (const portAllocation of ALLOCATIONS) {
          const box: NatBehaviour = { ...(usual.ipv4 as NatBehaviour), mapping, filtering, portAllocation };
          await site.gateway.become({ ipv4: box });
          expect(await discover(agent, world.reflector, 4)).toEqual(seenFromOutside([box]));
        }
    await site.gateway.become(usual);
  });

  test('two hosts behind one box meet at their external endpoints only where it hairpins, and on their LAN in any case', async () => {
    for (const kind of ['lanHairpin', 'lanNoHairpin'] as const) {
      const { site, agent } = world.of(kind);
      const [, second] = site.hosts;
      const other = await UdpAgent.start((second as SiteHost).host);
      const met = await punch([await agent.open(), await other.open()], world.reflector);
      expect([kind, met]).toEqual([kind, permits(site.place, site.place, { sharedBoxes: 1 }).path === 'direct']);
      const [from, to] = [await agent.open(), await other.open()];
      await from.send({ address: second?.ipv4 ?? '', port: to.port }, 'on the LAN');
      expect((await to.arrival(1000, () => true))?.from.address).toBe(site.first.ipv4);
    }
  });

  test('two homes of one carrier meet exactly when it is permitted', async () => {
    for (const kind of ['carrierCone', 'carrierSymmetric'] as const) {
      const first = world.of(kind);
      const site = await world.lab.site(`${kind}Next`, kind, { sharing: first.site });
      const second = { site, agent: await UdpAgent.start(site.host) };
      const met = await punch(await socketsOf(first, second, 4), world.reflector);
      expect(site.publicAddress).toBe(first.site.publicAddress);
      expect([kind, met]).toEqual([kind, expectation(first.site, site).path === 'direct']);
    }
  });

  test('TCP goes out where the place lets it', async () => {
    const { address } = world.reflector.at(4);
    const outcomes = async (kind: 'portRestricted' | 'udpBlocked' | 'tcp443Only'): Promise<readonly string[]> => {
      const { agent } = world.of(kind);
      const tries = world.reflector.tcpPorts.map((port) =>
        agent.call<string>('connectTcp', { address, port, limitMs: 400 }),
      );
      return await Promise.all(tries);
    };
    expect(world.reflector.tcpPorts).toEqual([443, 7370]);
    expect(await outcomes('portRestricted')).toEqual(['connected', 'connected']);
    expect(await outcomes('udpBlocked')).toEqual(['connected', 'connected']);
    expect(await outcomes('tcp443Only')).toEqual(['connected', 'timeout']);
  });
});
