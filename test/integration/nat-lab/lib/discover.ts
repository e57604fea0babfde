// What the boxes in front of a socket do, found out from outside as RFC 5780 has it: with a third party that has two addresses and
// two ports, and with datagrams that must not arrive. Knows nothing of how the lab makes its boxes.

import type { Dependence, PortAllocation } from '../../../../src/sim/nat/kinds.ts';
import { CONTROLLER_ADDRESSES } from './address-plan.ts';
import type { NatLab } from './nat-lab.ts';
import { type At, UdpAgent, type UdpSocket } from './udp-agent.ts';

const PORTS = [3478, 3479] as const;
const TCP_PORTS = [443, 7370] as const;
/** A question is asked again after this: the first datagram of all may wait for a neighbour's address. */
const ANSWER_LIMIT_MS = 400;
const TRIES = 3;
/** New mappings that are looked at for what their ports have in common. */
const MAPPINGS_COMPARED = 4;

let tags = 0;

/** The third party: sockets on both addresses and both ports of the controller's host, and something that accepts TCP. */
export class Reflector {
  readonly tcpPorts = TCP_PORTS;

  static async start(lab: NatLab): Promise<Reflector> {
    const agent = await UdpAgent.start(lab.controllerHost);
    for (const family of [4, 6] as const) {
      await agent.call('reflect', { family, addresses: addressesOf(family), ports: PORTS });
    }
    for (const address of ['0.0.0.0', '::']) await agent.call('listenTcp', { address, ports: TCP_PORTS });
    return new Reflector();
  }

  at(family: 4 | 6, address: 0 | 1 = 0, port: 0 | 1 = 0): At {
    return { address: addressesOf(family)[address], port: PORTS[port] };
  }

  /** The external endpoint of `socket` towards one of the four; null when nothing comes back. */
  async where(socket: UdpSocket, address: 0 | 1 = 0, port: 0 | 1 = 0): Promise<At | null> {
    for (let tried = 0; tried < TRIES; tried++) {
      const answer = await this.#answered(socket, address, port);
      if (answer !== null) return answer;
    }
    return null;
  }

  /** As `where`, for a place from which there is a way. */
  async mustWhere(socket: UdpSocket): Promise<At> {
    const at = await this.where(socket);
    if (at === null) throw new Error(`${socket.agent.host.netns} does not reach the third party`);
    return at;
  }

  /** Asks the first of the four; the answer is to come from another. Gives a tag by which `heard` knows it. */
  async askFor(socket: UdpSocket, address: 0 | 1, port: 0 | 1): Promise<string> {
    const tag = `${++tags}`;
    await socket.send(this.at(socket.family), `where ${tag} ${address} ${port}`);
    return tag;
  }

  heard(socket: UdpSocket, tag: string): boolean {
    return socket.arrivals.some((arrival) => arrival.text.startsWith(`at ${tag} `));
  }

  /** After this, what was sent to the socket before has arrived or never will: twice there and back on the way that is open. */
  async settle(socket: UdpSocket): Promise<void> {
    await this.where(socket);
    await this.where(socket);
  }

  async #answered(socket: UdpSocket, address: 0 | 1, port: 0 | 1): Promise<At | null> {
    const tag = `${++tags}`;
    const failed = await socket.send(this.at(socket.family, address, port), `where ${tag} ${address} ${port}`);
    if (failed !== null) return null;
    const arrival = await socket.arrival(ANSWER_LIMIT_MS, ({ text }) => text.startsWith(`at ${tag} `));
    const [, , , , seen, from] = arrival?.text.split(' ') ?? [];
    return seen === undefined ? null : { address: seen, port: Number(from) };
  }
}

function addressesOf(family: 4 | 6): readonly [string, string] {
  return family === 4 ? CONTROLLER_ADDRESSES.ipv4 : CONTROLLER_ADDRESSES.ipv6;
}

export interface Discovered {
  readonly translates: boolean;
  readonly mapping: Dependence;
  readonly filtering: Dependence;
  readonly portAllocation: PortAllocation;
}

/** null: UDP does not get through. */
export async function discover(agent: UdpAgent, reflector: Reflector, family: 4 | 6): Promise<Discovered | null> {
  const socket = await agent.open({ family });
  const first = await reflector.where(socket);
  if (first === null) return null;
  const mapping = await mappingOf(socket, reflector, first);
  const filtering = await filteringOf(await agent.open({ family }), reflector);
  const endpoints: { readonly inside: number; readonly outside: At }[] = [];
  for (let i = 0; i < MAPPINGS_COMPARED; i++) {
    const fresh = await agent.open({ family });
    endpoints.push({ inside: fresh.port, outside: await reflector.mustWhere(fresh) });
  }
  const own = await agent.call<readonly string[]>('ownAddresses');
  return { translates: !own.includes(first.address), mapping, filtering, portAllocation: allocationOf(endpoints) };
}

async function mappingOf(socket: UdpSocket, reflector: Reflector, first: At): Promise<Dependence> {
  const otherAddress = await reflector.where(socket, 1, 0);
  const otherBoth = await reflector.where(socket, 1, 1);
  const otherPort = await reflector.where(socket, 0, 1);
  const same = (a: At | null, b: At | null): boolean => a?.address === b?.address && a?.port === b?.port;
  if (same(first, otherAddress) && same(first, otherBoth) && same(first, otherPort)) return 'independent';
  return same(first, otherPort) && same(otherAddress, otherBoth) ? 'address' : 'addressAndPort';
}

async function filteringOf(socket: UdpSocket, reflector: Reflector): Promise<Dependence> {
  const strange = await reflector.askFor(socket, 1, 1);
  const samePort = await reflector.askFor(socket, 1, 0);
  const sameAddress = await reflector.askFor(socket, 0, 1);
  await reflector.settle(socket);
  if (reflector.heard(socket, strange) && reflector.heard(socket, samePort)) return 'independent';
  return reflector.heard(socket, sameAddress) ? 'address' : 'addressAndPort';
}

function allocationOf(endpoints: readonly { readonly inside: number; readonly outside: At }[]): PortAllocation {
  if (endpoints.every(({ inside, outside }) => inside === outside.port)) return 'preserve';
  const next = endpoints.every(
    ({ outside }, i) => i === 0 || outside.port === (endpoints[i - 1]?.outside.port ?? 0) + 1,
  );
  return next ? 'sequential' : 'random';
}

const ROUNDS = 3;

/**
 * Two sockets try to meet as ICE does: both send to the other's reflexive endpoint, learn from where datagrams come, and answer
 * there. Whether an answer came.
 */
export async function punch(pair: readonly [UdpSocket, UdpSocket], reflector: Reflector): Promise<boolean> {
  const [a, b] = pair;
  const starts = await Promise.all([reflector.where(a), reflector.where(b)]);
  const [atA, atB] = starts;
  if (atA === null || atB === null) return false;
  const sides = [
    { socket: a, known: new Map([[text(atB), atB]]) },
    { socket: b, known: new Map([[text(atA), atA]]) },
  ] as const;
  const settled = () => Promise.all(pair.map((socket) => reflector.settle(socket)));
  for (let round = 0; round < ROUNDS; round++) {
    for (const { socket, known } of sides) for (const to of known.values()) await socket.send(to, 'hello');
    await settled();
    for (const { socket, known } of sides) {
      for (const { from } of socket.arrivals.filter((one) => one.text === 'hello')) {
        known.set(text(from), from);
        await socket.send(from, 'answer');
      }
    }
    await settled();
    if (pair.some((socket) => socket.arrivals.some((one) => one.text === 'answer'))) return true;
  }
  return false;
}

function text(at: At): string {
  return `${at.address} ${at.port}`;
}
