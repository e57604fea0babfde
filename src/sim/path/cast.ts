// Who is there in one run, drawn from the seed: sites of random kinds, some behind one carrier, nodes at them, relays and the
// controller in data centres. Watches every datagram on the wire.

import type { Endpoint } from '../../base/ip.ts';
import { RELAY_HEADER_BYTES, RELAY_MESSAGE_TYPE } from '../../base/relayed.ts';
import { AnswerBudget } from '../../path/stun/answer-budget.ts';
import { newStunCounters, StunResponder } from '../../path/stun/responder.ts';
import { RELAY_TAG } from '../../protocol/reach.ts';
import type { NodeId } from '../../protocol/values.ts';
import { Invariants } from '../invariants.ts';
import { addCounters } from '../mesh/reached.ts';
import { type Place, placeOf, SITE_KINDS, type SiteKind } from '../nat/kinds.ts';
import type { Carrier, Datagram, Machine, Site } from '../nat/sites.ts';
import { Flows } from './flows.ts';
import { Forwarding } from './forwarding.ts';
import { HOSTILITIES, type Hostility, Liar, Outsider, tampering } from './hostile.ts';
import { endpointsOf } from './outside.ts';
import { HONEST, type Lies, PathNode } from './path-node.ts';
import { type PathWorld, SERVER_PLACE } from './path-world.ts';
import { RelayHost } from './relay-host.ts';
import { isLoopback, type Stream } from './stream.ts';

/** Of STUN, at the controller's addresses: the second shows whether a NAT maps by port. */
const STUN_PORTS = [3_478, 3_479];
const SITES_MAX = 8;
/** Most worlds are small: what they cost grows with the square. */
const NODES_USUAL = 4;
const NODES_MAX = 10;
const LARGE = 0.2;
const RELAYS_MAX = 3;
/** Pairs between which there is traffic. */
const PAIRS_MAX = 5;
/** Everybody has joined, one after the other, within this. */
const JOINING_MS = 800;
/** Of links that are narrower than Ethernet: PPPoE, tunnels, mobile networks. */
const NARROW_MTUS = [1_492, 1_460, 1_400, 1_340, 1_280];

export type Pair = readonly [PathNode, PathNode];

export class Cast {
  readonly world: PathWorld;
  readonly flows: Flows;
  readonly forwarding: Forwarding;
  readonly wire = new Invariants();
  readonly controllerMachine: Machine;
  readonly stunServers: readonly Endpoint[];
  readonly relays: RelayHost[] = [];
  readonly nodes: PathNode[] = [];
  /** Sites of nodes. */
  readonly sites: Site[] = [];
  readonly carriers: Carrier[] = [];
  /** Those that talk; none of them is hostile. */
  readonly pairs: Pair[] = [];
  readonly hostility: Hostility;
  /** Datagrams that nodes have sent to boxes and addresses of nodes, and to relays to be passed on. */
  readonly counts = { toNodes: 0, relayed: 0 };
  #outsider: Outsider | null = null;
  #liar: { readonly node: PathNode; readonly lies: Liar } | null = null;
  readonly #nodeOf = new Map<Machine, PathNode>();
  readonly #relayOf = new Map<Machine, RelayHost>();
  readonly #relayEndpoints = new Set<Endpoint>();

  constructor(world: PathWorld) {
    this.world = world;
    this.flows = new Flows(world);
    this.forwarding = new Forwarding(world);
    this.controllerMachine = this.#server('controller', 15);
    this.stunServers = STUN_PORTS.flatMap((port) => endpointsOf(this.controllerMachine, port));
    this.#answerStun();
    this.#placeRelays();
    this.#placeNodes();
    this.#choosePairs();
    this.hostility = world.prng.chance(0.6) ? 'none' : world.prng.pick(HOSTILITIES);
    this.#addHostile();
    world.topology.taps.push((from, datagram) => this.#onWire(from, datagram));
  }

  get members(): (PathNode | RelayHost)[] {
    return [...this.nodes, ...this.relays];
  }

  /** Everybody starts with a join link. */
  begin(): void {
    const { world } = this;
    world.controller.start();
    this.#withKey([], (key) => {
      for (const node of this.nodes) this.#soon(() => node.start(key));
    });
    this.#withKey([RELAY_TAG], (key) => {
      for (const relay of this.relays) this.#soon(() => relay.start(key));
    });
  }

  #soon(act: () => void): void {
    this.world.schedule(this.world.prng.nextInt(0, JOINING_MS), act);
  }

  #withKey(tags: string[], then: (key: string) => void): void {
    const input = {
      description: '',
      reusable: true,
      ephemeral: false,
      preApproved: true,
      tags,
      expiresInSeconds: null,
    };
    this.world.controller.administer({ action: 'keys.create', input }, (answer) => {
      if (answer.ok && answer.result.kind === 'authKeyCreated') then(answer.result.secret);
    });
  }

  /** Adds up what the run has met. */
  finish(): void {
    const { reached, topology, controller } = this.world;
    for (const member of this.members) member.finish();
    controller.count();
    addCounters(reached, 'ground', topology.losses);
    addCounters(reached, 'relayed', this.forwarding.counts);
    const boxes = new Set(topology.sites.flatMap((site) => [...site.boxes[4], ...site.boxes[6]]));
    for (const box of boxes) addCounters(reached, 'box', { ...box.counts });
  }

  // — drawing —

  #server(name: string, latencyMs: number): Machine {
    const { topology } = this.world;
    return topology.addMachine(name, topology.addSite({ name, place: SERVER_PLACE, link: { latencyMs } }));
  }

  #answerStun(): void {
    const machine = this.controllerMachine;
    const counters = newStunCounters();
    const responder = new StunResponder({ doors: null, budget: new AnswerBudget(), counters });
    for (const port of STUN_PORTS) {
      machine.open(port, ({ bytes, source }) => {
        if (!this.world.controller.running) return;
        const answer = responder.answer(bytes, source, 0, this.world.now);
        if (answer !== null) machine.send(port, source, answer.datagram);
      });
    }
  }

  #placeRelays(): void {
    const count = this.world.prng.nextInt(1, RELAYS_MAX);
    for (let i = 1; i <= count; i++) this.#addRelay();
  }

  #addRelay(): RelayHost {
    const name = `relay${this.relays.length + 1}`;
    const machine = this.#server(name, this.world.prng.nextInt(2, 60));
    const events = {
      arrived: (at: RelayHost, datagram: Datagram, from: Machine) => this.forwarding.arrived(at, datagram, from),
      streams: (at: RelayHost, datagram: Datagram) => this.#onStream(at.machine, datagram),
    };
    const relay = new RelayHost(name, machine, events, this.world);
    this.relays.push(relay);
    this.#relayOf.set(machine, relay);
    this.flows.addRelay(machine);
    for (const endpoint of relay.endpoints) this.#relayEndpoints.add(endpoint);
    return relay;
  }

  #placeNodes(): void {
    const { prng } = this.world;
    const count = prng.nextInt(2, prng.chance(LARGE) ? NODES_MAX : NODES_USUAL);
    const sites = prng.nextInt(2, Math.min(SITES_MAX, count));
    for (let i = 1; i <= sites; i++) this.#addSite(`site${i}`, prng.pick(SITE_KINDS));
    // Every site has somebody.
    for (let i = 0; i < count; i++) this.#addNode(this.sites[i] ?? prng.pick(this.sites), HONEST);
  }

  #addNode(site: Site, lies: Lies): PathNode {
    const name = `node${this.nodes.length + 1}`;
    const machine = this.world.topology.addMachine(name, site);
    const events = {
      received: (at: PathNode, packet: Uint8Array, carrier: Machine | null) => this.flows.received(at, packet, carrier),
      streams: (_at: PathNode, datagram: Datagram) => this.#onStream(machine, datagram),
      started: (at: PathNode) => this.wire.noteForgotten(at),
    };
    const openStream = (at: PathNode, relay: NodeId): Stream | null => {
      const number = this.relays.findIndex(({ id }) => id === relay);
      return this.relays[number]?.openStream(at, this.nodes.indexOf(at), number) ?? null;
    };
    const node = new PathNode({ name, machine, servers: this.stunServers, openStream, lies }, events, this.world);
    this.nodes.push(node);
    this.#nodeOf.set(machine, node);
    return node;
  }

  #addHostile(): void {
    const { prng } = this.world;
    if (this.hostility === 'outsider') {
      // Nearer than anybody.
      const machine = this.#server('outsider', 0);
      this.#outsider = new Outsider(this, machine);
      this.flows.addEavesdropper(machine);
    }
    if (this.hostility === 'relay') this.#addRelay().tampers = tampering(prng.fork());
    if (this.hostility !== 'member') return;
    const lies = new Liar(this.world);
    lies.victims = [...this.nodes];
    this.#liar = { node: this.#addNode(prng.pick(this.sites), lies), lies };
  }

  /** Once more, if there is somebody who means harm. */
  harm(): void {
    this.#outsider?.act();
    if (this.#liar !== null) this.#liar.lies.act(this.#liar.node);
  }

  #addSite(name: string, kind: SiteKind): void {
    const { prng, topology } = this.world;
    const place: Place = placeOf(kind);
    const link = { latencyMs: prng.nextInt(2, 80), mtu: prng.chance(0.3) ? prng.pick(NARROW_MTUS) : 1_500 };
    const carrier = kind === 'carrierCone' || kind === 'carrierSymmetric' ? this.#carrier(kind, place) : null;
    const site = topology.addSite({ name: `${name} (${kind})`, place, link, ...(carrier === null ? {} : { carrier }) });
    this.sites.push(site);
  }

  /** The one that is there, sometimes; so that there are neighbours behind it. */
  #carrier(kind: SiteKind, place: Place): Carrier {
    const { prng, topology } = this.world;
    const known = this.carriers.find(({ name }) => name === kind);
    if (known !== undefined && prng.chance(0.6)) return known;
    const behaviour = place.ipv4?.at(-1);
    if (behaviour === undefined) throw new Error('a carrier has a NAT');
    const carrier = topology.addCarrier(kind, behaviour, { latencyMs: prng.nextInt(2, 30) });
    this.carriers.push(carrier);
    return carrier;
  }

  #choosePairs(): void {
    const { prng } = this.world;
    const all = this.nodes.flatMap((a, i) => this.nodes.slice(i + 1).map((b): Pair => [a, b]));
    while (all.length > 0 && this.pairs.length < PAIRS_MAX) {
      this.pairs.push(...all.splice(prng.nextInt(0, all.length - 1), 1));
    }
  }

  // — on the wire —

  #onWire(from: Machine, { bytes, destination }: Datagram): void {
    const node = this.#nodeOf.get(from);
    const isRelayed = bytes[0] === RELAY_MESSAGE_TYPE && bytes.length > RELAY_HEADER_BYTES;
    if (node !== undefined) {
      if (isRelayed && !this.#isRelay(destination))
        this.world.violated(`${node.name} sent a relayed datagram to ${destination}, where no relay is`);
      if (isRelayed) this.counts.relayed++;
      else if (!this.#isServer(destination)) this.counts.toNodes++;
      this.wire.checkWire(node, { bytes: isRelayed ? bytes.subarray(RELAY_HEADER_BYTES) : bytes });
      return;
    }
    const relay = this.#relayOf.get(from);
    if (relay !== undefined && isRelayed) this.forwarding.forwarded(relay, bytes, destination);
  }

  #onStream(from: Machine, datagram: Datagram): void {
    this.world.note(datagram.bytes);
    this.#onWire(from, datagram);
  }

  #isRelay(endpoint: Endpoint): boolean {
    return isLoopback(endpoint) || this.#relayEndpoints.has(endpoint);
  }

  #isServer(endpoint: Endpoint): boolean {
    return this.#isRelay(endpoint) || this.stunServers.includes(endpoint);
  }

  get violations(): readonly string[] {
    return [...this.world.violations, ...this.wire.violations];
  }

  describe(): string {
    const where = this.nodes.map(({ name, machine }) => `${name} at ${machine.site.name}`).join(', ');
    return `${where}; ${this.relays.length} relays; hostile: ${this.hostility}`;
  }
}
