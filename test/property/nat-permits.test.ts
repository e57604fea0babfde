// permits.ts reasons about pairs of places; here the same pairs are played, with boxes that hold mappings and filters, until
// nothing new is learnt. Both must say the same for any chains of boxes, shared ones included.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Boxes, type NatBehaviour, placeOf, SITE_KINDS } from '../../src/sim/nat/kinds.ts';
import { permits } from '../../src/sim/nat/permits.ts';

interface At {
  readonly address: string;
  readonly port: number;
}

const text = (at: At): string => `${at.address}:${at.port}`;
const STUN: At = { address: 'stun', port: 3478 };

/** A box as RFC 4787 tells it, with unlimited ports that never collide, except those that are to be kept. */
class Box {
  static made = 0;
  readonly behaviour: NatBehaviour;
  readonly #number = ++Box.made;
  readonly address = `box${this.#number}`;
  readonly #external = new Map<string, At>();
  readonly #internal = new Map<string, At>();
  readonly #contacted = new Map<string, At[]>();
  /** No box gives out what another gave: ports that are kept never collide. */
  #nextPort = 1000 * this.#number;

  constructor(behaviour: NatBehaviour) {
    this.behaviour = behaviour;
  }

  outbound(from: At, to: At): At {
    const source = this.behaviour.translates ? this.#mapped(from, to) : from;
    this.#contacted.set(text(source), [...(this.#contacted.get(text(source)) ?? []), to]);
    return source;
  }

  /** The internal endpoint, or null when it is not let in. */
  inbound(from: At, to: At): At | null {
    const { translates, filtering } = this.behaviour;
    const known = this.#contacted.get(text(to)) ?? [];
    const passes =
      filtering === 'independent' ||
      known.some((one) => one.address === from.address && (filtering === 'address' || one.port === from.port));
    if (!passes) return null;
    return translates ? (this.#internal.get(text(to)) ?? null) : to;
  }

  #mapped(from: At, to: At): At {
    const { mapping, portAllocation } = this.behaviour;
    const depends = { independent: '', address: to.address, addressAndPort: text(to) }[mapping];
    const key = `${text(from)} ${depends}`;
    const known = this.#external.get(key);
    if (known !== undefined) return known;
    const kept = { address: this.address, port: from.port };
    const holder = this.#internal.get(text(kept));
    const keeps = portAllocation === 'preserve' && (holder === undefined || text(holder) === text(from));
    const given = keeps ? kept : { address: this.address, port: this.#nextPort++ };
    this.#external.set(key, given);
    this.#internal.set(text(given), from);
    return given;
  }
}

class Node {
  readonly at: At;
  readonly boxes: readonly Box[];

  constructor(name: string, port: number, boxes: readonly Box[]) {
    this.at = { address: name, port };
    this.boxes = boxes;
  }
}

/** Whether the address is that of the node, or of one of its boxes, on the inner side of `box`. */
function isBelow(node: Node, box: Box, address: string): boolean {
  const inner = node.boxes.slice(0, Math.max(0, node.boxes.indexOf(box)));
  return node.boxes.includes(box) && [node.at, ...inner].some((one) => one.address === address);
}

type Arrival = { readonly node: Node; readonly source: At };

/** Follows one datagram to the host that it reaches, if any. */
function send(nodes: readonly Node[], from: Node, to: At): Arrival | null {
  let source = from.at;
  for (const box of from.boxes) {
    if (box.address === to.address) {
      if (!box.behaviour.hairpin) return null;
      return arrive(nodes, box.outbound(source, to), to, box);
    }
    // A firewall that both share is beyond the network where the other's address is.
    const below = nodes.find((node) => node !== from && isBelow(node, box, to.address));
    if (below !== undefined) return arrive(nodes, source, to, box, 'below');
    source = box.outbound(source, to);
  }
  return arrive(nodes, source, to, null);
}

/** Comes in at `box`, or from the internet, and goes down to the host. */
function arrive(
  nodes: readonly Node[],
  source: At,
  to: At,
  box: Box | null,
  where: 'at' | 'below' = 'at',
): Arrival | null {
  for (const node of nodes) {
    const top = box === null ? node.boxes.length : node.boxes.indexOf(box) + (where === 'at' ? 1 : 0);
    if (box !== null && !node.boxes.includes(box)) continue;
    let target: At | null = to;
    for (const one of node.boxes.slice(0, top).reverse()) {
      if (one.behaviour.translates && target.address !== one.address) target = null;
      target = target && one.inbound(source, target);
      if (target === null) break;
    }
    if (target !== null && text(target) === text(node.at)) return { node, source };
  }
  return null;
}

function reflexive(node: Node): At {
  return node.boxes.reduce((source, box) => box.outbound(source, STUN), node.at);
}

/** In the first the filters open, in the next sources are learnt; nothing that could be new comes after the third. */
const ROUNDS = 5;

/** ICE in short: each sends to all that it knows of the other, learns sources, and answers them. */
function meet(a: Node, b: Node): boolean {
  const nodes = [a, b];
  const known = new Map<Node, Map<string, At>>();
  const start = new Map(nodes.map((node) => [node, reflexive(node)]));
  for (const [node, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const at = start.get(other) as At;
    known.set(node, new Map([[text(at), at]]));
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const node of nodes) {
      for (const to of [...(known.get(node) as Map<string, At>).values()]) {
        const arrival = send(nodes, node, to);
        if (arrival === null || arrival.node === node) continue;
        (known.get(arrival.node) as Map<string, At>).set(text(arrival.source), arrival.source);
        if (send(nodes, arrival.node, arrival.source)?.node === node) return true;
      }
    }
  }
  return false;
}

const dependence = fc.constantFrom('independent', 'address', 'addressAndPort') satisfies fc.Arbitrary<string>;
const behaviour: fc.Arbitrary<NatBehaviour> = fc.record({
  translates: fc.boolean(),
  mapping: dependence,
  filtering: dependence,
  portAllocation: fc.constantFrom('preserve', 'sequential', 'random'),
  hairpin: fc.boolean(),
  mappingTimeoutMs: fc.constant(120_000),
  udp: fc.constant(true),
  mapsPorts: fc.constant(false),
});
const chain = fc
  .tuple(fc.array(behaviour, { maxLength: 2 }), fc.boolean())
  .map(([boxes, mapsPorts]) => boxes.map((box, i) => ({ ...box, mapsPorts: i === 0 && mapsPorts })));
/** The host has asked for a mapping of its port. */
const asked = (box: NatBehaviour): NatBehaviour =>
  box.translates && box.mapsPorts ? { ...box, mapping: 'independent', filtering: 'independent' } : box;

function play(a: Boxes, b: Boxes, shared: Boxes): boolean {
  const common = shared.map((box) => new Box(box));
  const node = (name: string, boxes: Boxes, port: number): Node =>
    new Node(name, port, [...boxes.map((box) => new Box(asked(box))), ...common]);
  return meet(node('a', a, 51), node('b', b, 52));
}

test('the reasoning about two places says what playing them shows', () => {
  fc.assert(
    fc.property(chain, chain, fc.array(behaviour, { maxLength: 1 }), (a, b, shared) => {
      const place = (boxes: Boxes) => ({ ipv4: [...boxes, ...shared], ipv6: null, tcpPorts: 'any' as const });
      const verdict = permits(place(a), place(b), { sharedBoxes: shared.length });
      expect(verdict.path).toBe(play(a, b, shared) ? 'direct' : 'relay');
    }),
    { numRuns: 20_000 },
  );
});

test('it is the same from either side', () => {
  for (const a of SITE_KINDS)
    for (const b of SITE_KINDS) expect(permits(placeOf(a), placeOf(b))).toEqual(permits(placeOf(b), placeOf(a)));
});
