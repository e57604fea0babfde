// The checks of the simulated paths can fail: each is shown what it is there to notice. And what the measures of a flow mean.

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import type { Endpoint, IpAddress } from '../../../src/base/ip.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import { createReferencePlane } from '../../../src/dataplane/reference/plane.ts';
import type { Machine } from '../../../src/sim/nat/sites.ts';
import { makePacket } from '../../../src/sim/packets.ts';
import { Flow, Flows } from '../../../src/sim/path/flows.ts';
import { Forwarding } from '../../../src/sim/path/forwarding.ts';
import type { PathNode } from '../../../src/sim/path/path-node.ts';
import { PathWorld } from '../../../src/sim/path/path-world.ts';
import type { RelayHost } from '../../../src/sim/path/relay-host.ts';

function world(): PathWorld {
  return new PathWorld({
    seed: 1,
    crypto: nodeProvider,
    sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),
    makePlane: () => createReferencePlane({ crypto: nodeProvider, slabSlots: 16 }),
  });
}

const machine = (name: string): Machine => ({ name }) as Machine;

/** Knows everybody, and hands packets to nobody. */
function node(name: string, address: string): PathNode {
  return {
    name,
    id: 1,
    machine: machine(name),
    mesh: { netmap: { node: () => ({}) } },
    address: () => address as IpAddress,
    send: () => undefined,
  } as unknown as PathNode;
}

describe('packets', () => {
  const setUp = () => {
    const at = world();
    const flows = new Flows(at);
    const [a, b, c] = [node('a', '10.0.0.1'), node('b', '10.0.0.2'), node('c', '10.0.0.3')];
    const relay = machine('relay');
    flows.addRelay(relay);
    flows.send(a, b);
    return { at, flows, a, b, c, relay, packet: makePacket('10.0.0.1' as IpAddress, '10.0.0.2' as IpAddress, 0) };
  };

  test('that arrive as they should are no violation, and it is known how they came', () => {
    const { at, flows, a, b, packet } = setUp();
    flows.received(b, packet, a.machine);
    expect(flows.way(a, b)).toBe('direct');
    expect(flows.way(b, a)).toBeNull();
    expect(at.violations).toEqual([]);
  });

  test('by a relay are relayed', () => {
    const { at, flows, a, b, relay, packet } = setUp();
    flows.received(b, packet, relay);
    expect(flows.way(a, b)).toBe('relayed');
    expect(at.violations).toEqual([]);
  });

  test('that come out at another', () => {
    const { at, flows, a, c, packet } = setUp();
    flows.received(c, packet, a.machine);
    expect(at.violations).toEqual([expect.stringContaining('c received 10.0.0.1 > 10.0.0.2 #0, meant for b')]);
  });

  test('that come twice', () => {
    const { at, flows, a, b, packet } = setUp();
    flows.received(b, packet, a.machine);
    flows.received(b, packet, a.machine);
    expect(at.violations).toEqual([expect.stringContaining('b received 10.0.0.1 > 10.0.0.2 #0 twice')]);
  });

  test('that nobody sent', () => {
    const { at, flows, a, b } = setUp();
    flows.received(b, makePacket('10.0.0.1' as IpAddress, '10.0.0.2' as IpAddress, 7), a.machine);
    expect(at.violations).toEqual([expect.stringContaining('which nobody sent')]);
  });

  test("that are taken for another's", () => {
    const { at, flows, a, b, c } = setUp();
    flows.send(c, b);
    flows.received(b, makePacket('10.0.0.3' as IpAddress, '10.0.0.2' as IpAddress, 0), a.machine);
    expect(at.violations).toEqual([expect.stringContaining("of a for another's")]);
  });

  test.each([['c'], [null]])('that neither their sender nor a relay carried, but %s', (carrier) => {
    const { at, flows, b, packet } = setUp();
    flows.received(b, packet, carrier === null ? null : machine(carrier));
    expect(at.violations).toEqual([expect.stringContaining(`was carried to b by ${carrier ?? 'nobody'}`)]);
  });
});

describe('a steady flow', () => {
  const flow = () => new Flow(node('a', '10.0.0.1'), node('b', '10.0.0.2'), 10, 1_000 as Instant);
  const at = (ms: number): Instant => (1_000 + ms) as Instant;

  test('knows the longest silence, from its beginning on', () => {
    const one = flow();
    one.arrived(0, at(0), 'direct', at(300));
    one.arrived(1, at(310), 'direct', at(320));
    expect(one.longestSilenceMs).toBe(300);
  });

  test('knows what was lost', () => {
    const one = flow();
    one.sent = 3;
    one.arrived(0, at(0), 'direct', at(10));
    one.arrived(2, at(20), 'direct', at(30));
    expect(one.lost).toBe(1);
  });

  test('knows how late what was overtaken came, counted from the first that overtook it', () => {
    const one = flow();
    one.arrived(0, at(0), 'relayed', at(100));
    one.arrived(2, at(20), 'direct', at(110));
    one.arrived(3, at(30), 'direct', at(120));
    expect(one.overtakenMs).toBe(0);
    one.arrived(1, at(10), 'relayed', at(150));
    expect(one.overtakenMs).toBe(40);
  });
});

describe('what a relay forwards', () => {
  const USER = '203.0.113.1:51820' as Endpoint;
  const OTHER_USER = '203.0.113.2:51820' as Endpoint;
  const STRANGER = '203.0.113.9:51820' as Endpoint;
  const datagram = (inner: number, source: Endpoint) => {
    const bytes = new Uint8Array(44).fill(inner, 12);
    bytes[0] = 0x20;
    return { bytes, source, destination: '198.51.100.1:51821' as Endpoint, dontFragment: false };
  };
  const setUp = () => {
    const at = world();
    const users = [USER, OTHER_USER].map((endpoint) => ({ slot: true, endpoint }));
    const relay = { name: 'relay', tampers: null, running: { engine: { memberStatuses: () => users } } };
    return { at, forwarding: new Forwarding(at), relay: relay as unknown as RelayHost };
  };

  test('of a user, to a user, is what it should be', () => {
    const { at, forwarding, relay } = setUp();
    forwarding.arrived(relay, datagram(4, USER), machine('a'));
    forwarding.forwarded(relay, datagram(4, USER).bytes, OTHER_USER);
    expect(at.violations).toEqual([]);
    expect(forwarding.counts).toEqual({ arrived: 1, forwarded: 1 });
  });

  test('of somebody who has proved nothing is noticed', () => {
    const { at, forwarding, relay } = setUp();
    forwarding.arrived(relay, datagram(4, STRANGER), machine('stranger'));
    forwarding.forwarded(relay, datagram(4, USER).bytes, OTHER_USER);
    expect(at.violations).toEqual([expect.stringContaining('forwarded for stranger, which has proved nothing there')]);
  });

  test('to where nobody has proved anything is noticed', () => {
    const { at, forwarding, relay } = setUp();
    forwarding.arrived(relay, datagram(4, USER), machine('a'));
    forwarding.forwarded(relay, datagram(4, USER).bytes, STRANGER);
    expect(at.violations).toEqual([expect.stringContaining(`forwarded to ${STRANGER}`)]);
  });

  test('and was altered, or never came, is noticed', () => {
    const { at, forwarding, relay } = setUp();
    forwarding.forwarded(relay, datagram(4, USER).bytes, OTHER_USER);
    forwarding.arrived(relay, datagram(4, USER), machine('a'));
    forwarding.forwarded(relay, datagram(5, USER).bytes, OTHER_USER);
    expect(at.violations).toHaveLength(2);
    for (const violation of at.violations) expect(violation).toContain('that has not come to it');
  });
});
