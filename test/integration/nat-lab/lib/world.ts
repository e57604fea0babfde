// One lab with a site of every kind, each with an agent, and a third party: what the lab's own tests and its table are made with.

import { type Place, SITE_KINDS, type SiteKind } from '../../../../src/sim/nat/kinds.ts';
import { permits, type Verdict } from '../../../../src/sim/nat/permits.ts';
import { Reflector } from './discover.ts';
import { NatLab } from './nat-lab.ts';
import type { Site } from './site.ts';
import { UdpAgent, type UdpSocket } from './udp-agent.ts';

/** Sites that are made at once: more only wait for one another in the kernel. */
const MADE_AT_ONCE = 4;

/** Kinds that are about two hosts on one LAN. */
export const PEOPLED: readonly SiteKind[] = ['lanHairpin', 'lanNoHairpin'];

export interface Inhabited {
  readonly site: Site;
  readonly agent: UdpAgent;
}

export interface World {
  readonly lab: NatLab;
  readonly reflector: Reflector;
  readonly inhabited: readonly Inhabited[];
  of(kind: SiteKind): Inhabited;
}

/** `twins`: a second site of every kind, for pairs of the same kind. */
export async function openWorld(
  name: string,
  kinds: readonly SiteKind[] = SITE_KINDS,
  options: { readonly twins?: boolean } = {},
): Promise<World> {
  const lab = await NatLab.open(name);
  try {
    const wanted = kinds.flatMap((kind) =>
      (options.twins === true ? [kind, `${kind}2`] : [kind]).map((of) => [of, kind]),
    );
    const inhabited: Inhabited[] = [];
    const waiting = (wanted as [string, SiteKind][]).entries();
    const worker = async (): Promise<void> => {
      for (const [at, [siteName, kind]] of waiting) {
        const site = await lab.site(siteName, kind, { hosts: PEOPLED.includes(kind) ? 2 : 1 });
        inhabited[at] = { site, agent: await UdpAgent.start(site.host) };
      }
    };
    const reflector = Reflector.start(lab);
    await Promise.all(Array.from({ length: MADE_AT_ONCE }, worker));
    const of = (kind: SiteKind): Inhabited => {
      const found = inhabited.find(({ site }) => site.kind === kind);
      if (found === undefined) throw new Error(`no site is ${kind}`);
      return found;
    };
    return { lab, reflector: await reflector, inhabited, of };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** What a pair of sites should come to. */
export function expectation(a: Site, b: Site): Verdict {
  return permits(a.place, b.place, {
    sharedBoxes: a.gateways.filter((gateway) => b.gateways.includes(gateway)).length,
  });
}

export function commonFamilies(a: Place, b: Place): readonly (4 | 6)[] {
  const families: (4 | 6)[] = [];
  if (a.ipv4 !== null && b.ipv4 !== null) families.push(4);
  if (a.ipv6 !== null && b.ipv6 !== null) families.push(6);
  return families;
}

/** A new socket at each of the two. */
export async function socketsOf(a: Inhabited, b: Inhabited, family: 4 | 6): Promise<readonly [UdpSocket, UdpSocket]> {
  return [await a.agent.open({ family }), await b.agent.open({ family })];
}
