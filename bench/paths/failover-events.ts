// The ways in which a path dies: what is made ready before, what happens, and what is mended after. `a` is behind the NAT to which
// things happen, and begins the flow.

import { ipBatch } from '../../test/integration/nat-lab/lib/network-tools.ts';
import type { Host } from '../../test/interop/lib/lab.ts';
import { until } from '../../test/interop/lib/wait.ts';
import { type Kind, makeIdle, statusOf, why } from './local.ts';
import type { PathNode } from './path-node.ts';
import type { PathRelay, PathWorld } from './path-world.ts';

/** A relay that nobody needs is left after a minute. */
const RELEASE_LIMIT_MS = 120_000;
/** A home is asked for an answer every 24 s. */
const HOME_LIMIT_MS = 60_000;

export interface Places {
  readonly world: PathWorld;
  readonly a: PathNode;
  readonly b: PathNode;
  readonly relays: readonly PathRelay[];
}

export interface FailoverEvent {
  readonly name: string;
  readonly label: string;
  /** Of the path that dies. */
  readonly path: Kind;
  prepare(places: Places): Promise<void>;
  strike(places: Places): Promise<void>;
  mend(places: Places): Promise<void>;
  /** Throws when it did not happen. */
  readonly check?: (places: Places) => Promise<void>;
}

const nothing = async (): Promise<void> => {};

async function mendLinks({ world, a, b }: Places): Promise<void> {
  await world.lab.mend(a.site, b.site);
}

/** The address on its LAN that it had first, and another. */
const LAN_ADDRESSES = ['192.168.1.2', '192.168.1.77'] as const;
const LAN_ROUTER = '192.168.1.1';

async function moveOnLan(host: Host): Promise<void> {
  const shown = await host.must(['ip', '-4', '-o', 'address', 'show', 'dev', 'eth0']);
  const [from, to] = shown.includes(`${LAN_ADDRESSES[0]}/`) ? LAN_ADDRESSES : [...LAN_ADDRESSES].reverse();
  await ipBatch(host, [
    `address del ${from}/24 dev eth0`,
    `address add ${to}/24 dev eth0`,
    `route replace default via ${LAN_ROUTER}`,
  ]);
}

/** The relay by which `a` sends to `b`. */
async function relayInUse({ a, b, relays }: Places): Promise<PathRelay> {
  const { path } = await why(a, b);
  const found = relays.find(({ address }) => path?.endpoint.startsWith(`${address}:`));
  if (found === undefined) throw new Error(`no relay is at ${path?.endpoint}`);
  return found;
}

/** The other relay is one that they know of and have nothing to do with, as in the ordinary course of things. */
async function untilHomeAlone(nodes: readonly PathNode[]): Promise<void> {
  for (const node of nodes) {
    await until(`${node.name} has left the other relay`, RELEASE_LIMIT_MS, async () => {
      const { relays } = await statusOf(node);
      return relays.every(({ home, state }) => (state === 'established') === home);
    });
  }
}

/** Its home is there from now on; the ways to other relays are cut until it is. */
async function makeHome({ world, relays }: Places, node: PathNode, wanted: PathRelay): Promise<void> {
  const others = relays.filter((relay) => relay !== wanted);
  for (const { site } of others) await world.lab.cut(node.site, site, { protocol: 'udp' });
  await until(`${node.name} has its home at the relay ${wanted.name}`, HOME_LIMIT_MS, async () => {
    const { relays: known } = await statusOf(node);
    return known.some(({ home, endpoint }) => home && endpoint?.startsWith(`${wanted.address}:`));
  });
  for (const { site } of others) await world.lab.mend(node.site, site);
}

let killed: PathRelay | null = null;
async function mendRelay(places: Places): Promise<void> {
  await mendLinks(places);
  await killed?.start();
  killed = null;
  await places.world.untilHome([places.a, places.b]);
}

/** Where `b` saw `a` before. */
let seenAt: string | null = null;

async function endpointOf({ a, b }: Places): Promise<string | null> {
  return (await why(b, a)).path?.endpoint ?? null;
}

export const EVENTS: readonly FailoverEvent[] = [
  {
    name: 'cut',
    label: 'direct path cut both ways',
    path: 'direct',
    prepare: nothing,
    strike: ({ world, a, b }) => world.lab.cut(a.site, b.site),
    mend: mendLinks,
  },
  {
    name: 'one-way',
    label: 'direct path cut one way',
    path: 'direct',
    prepare: nothing,
    strike: ({ world, a, b }) => world.lab.drop(a.site, b.site),
    mend: mendLinks,
  },
  {
    name: 'rebinding',
    label: 'NAT rebinding: mappings forgotten, other ports',
    path: 'direct',
    prepare: nothing,
    strike: async (places) => {
      seenAt = await endpointOf(places);
      await places.a.site.rebind('ports');
    },
    mend: nothing,
    check: async (places) => {
      if ((await endpointOf(places)) === seenAt) throw new Error(`it is still at ${seenAt}: nothing was rebound`);
    },
  },
  {
    name: 'reboot',
    label: 'NAT reboot: mappings forgotten',
    path: 'direct',
    prepare: nothing,
    strike: ({ a }) => a.site.reboot(),
    mend: nothing,
  },
  {
    name: 'address',
    label: "the node's own address changes",
    path: 'direct',
    prepare: nothing,
    strike: ({ a }) => moveOnLan(a.host),
    mend: nothing,
  },
  {
    name: 'relay',
    label: 'relay killed, another is there',
    path: 'relay',
    prepare: async ({ world, a, b }) => {
      await world.lab.cut(a.site, b.site);
      await makeIdle(a, b);
      await untilHomeAlone([a, b]);
    },
    strike: async (places) => {
      killed = await relayInUse(places);
      await killed.kill();
    },
    mend: mendRelay,
  },
  {
    name: 'one-relay',
    label: 'relay killed that is the home of one of them',
    path: 'relay',
    prepare: async (places) => {
      const { world, a, b, relays } = places;
      const [near, far] = relays as [PathRelay, PathRelay];
      await world.lab.cut(a.site, b.site);
      await makeIdle(a, b);
      await makeHome(places, a, near);
      await makeHome(places, b, far);
    },
    strike: async ({ relays }) => {
      killed = relays[0] ?? null;
      await killed?.kill();
    },
    mend: mendRelay,
  },
];

export const EVENT_NAMES: readonly string[] = EVENTS.map(({ name }) => name);
