// One node while it is wanted up: tunnel, controller and interface held together. Opens the tunnel and the connection at the same
// time, gives the interface its addresses as soon as they are known and do no harm, follows changes of the machine's network,
// and makes the tunnel again when somebody deletes it. Starting, stopping and files are mesh-host.ts.

import { toBase64 } from '../../base/bytes.ts';
import type { Instant } from '../../base/instant.ts';
import type { IpPrefix } from '../../base/ip.ts';
import type { Control, OpenControl } from '../../link/control.ts';
import type { ControlStart } from '../../mesh/control-client.ts';
import type { Pong } from '../../mesh/mesh-engine.ts';
import type { NetmapChange, SavedNetmap } from '../../mesh/netmap.ts';
import type { Delta, Snapshot, Welcome } from '../../protocol/control.ts';
import type { DaemonState, Problem } from '../../protocol/local-api.ts';
import type { Network } from '../../protocol/netmap.ts';
import { type Home, type Reach, sameReach } from '../../protocol/reach.ts';
import type { Candidate, NodeId, PublicKeyText } from '../../protocol/values.ts';
import type { Log } from '../log.ts';
import type { ClockJump } from '../os/clock-watch.ts';
import type { CreatePortMapper } from '../portmap/port-mapper.ts';
import { hostCandidates, reachability, sameCandidates } from './candidates.ts';
import type { HostAddress, HostNetwork } from './host-network.ts';
import { InterfaceSetup, type WantedConfiguration } from './interface-setup.ts';
import { isWorthKeeping, returned } from './netmap-changes.ts';
import { ProblemError } from './problem-error.ts';
import { CLOCK_OFF_MS, clockOff, connectionProblem, fromControl, ipv6Unavailable } from './problems.ts';
import { peersWithSession, RecentPeers } from './recent-peers.ts';
import { type CreatePlane, type EngineParts, Tunnel } from './tunnel.ts';
import { unfitNetwork } from './unfit-network.ts';
import { Whereabouts } from './whereabouts.ts';

/** Changes of the network come in bursts; acted upon when they have been still for this long. */
const SETTLE_MS = 50;
/** A tunnel or interface that could not be made is tried again after this long. */
const RETRY_MS = 5000;
/** Fatal errors after which nothing of the network may go on: whoever is not a member has no peers. */
const LOCKED_OUT: readonly string[] = ['unregistered', 'nodeExpired', 'nodeDisabled', 'nodeRemoved'];

/** Calls back when the machine slept or its clock was stepped. Gives its end. */
export type WatchClock = (onJump: (jump: ClockJump) => void) => () => void;

export interface MeshNodeOptions {
  readonly ifname: string;
  readonly port: number;
  readonly portMayChange: boolean;
  readonly controllerUrl: string;
  readonly controllerKey: string;
  readonly start: Omit<ControlStart, 'resume'>;
  /** The netmap on disk, or null. */
  readonly saved: SavedNetmap | null;
  /** Who had a session when the last node of this machine ended. */
  readonly recent: readonly NodeId[];
  /** Absent: no gateway is asked to map a port. */
  readonly createPortMapper?: CreatePortMapper;
  readonly createPlane: CreatePlane;
  readonly engine: Omit<EngineParts, 'outputs'>;
  readonly openControl: OpenControl;
  readonly watchClock: WatchClock;
  readonly network: HostNetwork;
  readonly log: Log;
  /** A fresh copy, owned and zeroed by whoever asks. */
  readonly privateKey: (which: 'current' | 'next') => Uint8Array;
  readonly events: MeshNodeEvents;
}

export interface MeshNodeEvents {
  /** Status is different. May come often. */
  changed(): void;
  /** The controller has let us in. */
  joined(): void;
  /** The netmap is different from what was given or told last. */
  netmapChanged(): void;
  /** `recent` is different. */
  recentChanged(): void;
  /** We are no member any more: what is known of the network has to go. */
  lockedOut(): void;
  portChosen(port: number): void;
  persistNextKey(publicKey: PublicKeyText): void;
  keySwitched(publicKey: PublicKeyText): void;
  nextKeyRefused(publicKey: PublicKeyText): void;
}

export class MeshNode {
  readonly #options: MeshNodeOptions;
  readonly #control: Control;
  readonly #whereabouts: Whereabouts;
  readonly #pongListeners = new Set<(pong: Pong) => void>();
  readonly #setup: InterfaceSetup;
  readonly #recent: RecentPeers;
  /** Those that can be greeted only when a netmap says who they are: ours was lost. */
  readonly #unknownRecent: NodeId[];
  #tunnel: Tunnel;
  readonly #stopWatching: (() => void)[] = [];
  #settling: NodeJS.Timeout | null = null;
  #retry: NodeJS.Timeout | null = null;
  /** The tunnel was lost and could not be made again yet. */
  #tunnelProblem: Problem | null = null;
  #hasNetmap = false;
  #seenNetwork = '';
  #candidates: readonly Candidate[] = [];
  #reach: Reach | null = null;
  #lockedOut = false;
  #toldStep = '';
  /** By how much the wall clock was stepped since the controller told its time. */
  #steppedMs = 0;
  #closed = false;

  /** The tunnel is open and the connection under way when it returns. Throws a ProblemError, and leaves nothing then. */
  constructor(options: MeshNodeOptions) {
    this.#options = options;
    const { network, log, events, recent } = options;
    this.#setup = new InterfaceSetup({
      network,
      log,
      ifname: () => this.ifname,
      wanted: () => this.#wanted(),
      onChange: () => events.changed(),
    });
    this.#unknownRecent = options.saved === null ? [...recent] : [];
    this.#recent = new RecentPeers(recent, () => this.#peersWithSession(), events.recentChanged);
    this.#whereabouts = new Whereabouts({
      log,
      random: options.engine.random,
      now: () => this.now(),
      mesh: () => (this.#closed ? null : this.mesh),
      portMapper: options.createPortMapper?.({ ifname: () => this.ifname, now: () => this.now() }) ?? null,
      onChange: () => this.#scheduleRead(),
    });
    this.#tunnel = this.#openTunnel();
    this.#control = options.openControl({
      url: options.controllerUrl,
      controllerKey: options.controllerKey,
      privateKey: options.privateKey,
      events: {
        welcome: (message) => this.#welcome(message),
        snapshot: (message) => this.#snapshot(message),
        delta: (message) => this.#delta(message),
        punch: (message) => this.mesh.handlePunch(message, this.now()),
        persistNextKey: (key) => options.events.persistNextKey(key),
        keySwitched: (key) => this.#keySwitched(key),
        nextKeyRefused: (key) => options.events.nextKeyRefused(key),
        changed: () => this.#controlChanged(),
      },
    });
  }

  /** Begins. Rejects with nothing: what goes wrong from here on is in `problem`. */
  async start(): Promise<void> {
    const { saved, start, network, ifname } = this.#options;
    if (saved !== null) {
      this.mesh.restore(saved, this.now());
      this.#hasNetmap = true;
    }
    this.#watchNetwork();
    // Before the connection is made, because registering says the candidates. It is a local question, answered at once.
    const up = network.setUp(ifname, true);
    await this.#readNetwork();
    if (this.#closed) return;
    this.#control.start({ ...start, resume: saved?.position ?? null });
    this.#told('put the interface up', await up);
    this.#whereabouts.listening(this.mesh.listenPort());
    this.#configure();
    this.#greetRecent();
  }

  /** Over a new connection, with what `start` says; sessions and netmap stay. */
  registerAnew(start: MeshNodeOptions['start']): void {
    if (!this.#closed) this.#control.start({ ...start, resume: this.mesh.netmap.position });
  }

  get mesh(): Tunnel['mesh'] {
    return this.#tunnel.mesh;
  }

  get control(): Control {
    return this.#control;
  }

  get ifname(): string {
    return this.#tunnel.ifname;
  }

  get whereabouts(): Whereabouts {
    return this.#whereabouts;
  }

  get candidates(): readonly Candidate[] {
    return this.#candidates;
  }

  get lockedOut(): boolean {
    return this.#lockedOut;
  }

  now(): Instant {
    return this.#tunnel.now();
  }

  /** What keeps the node from being up, the cause before the consequence; null when it is up or on its way. */
  get problem(): Problem | null {
    const { problem } = this.#control.status();
    if (problem !== null) return fromControl(problem);
    return this.#tunnelProblem ?? unfitNetwork(this.mesh.netmap) ?? this.#setup.problem ?? this.#keyMismatch();
  }

  /** Why there is no connection to the controller; no hindrance for a node that has a netmap. */
  get connectionProblem(): Problem | null {
    return connectionProblem(this.#control.status());
  }

  /** Trying again does not help against it, a person does. */
  #keyMismatch(): Problem | null {
    const problem = this.connectionProblem;
    return problem?.code === 'controllerKeyMismatch' && !this.#isUp ? problem : null;
  }

  get warnings(): readonly Problem[] {
    const warnings: Problem[] = [];
    const skew = (this.#control.status().clockSkewMs ?? 0) + this.#steppedMs;
    if (Math.abs(skew) > CLOCK_OFF_MS) warnings.push(clockOff(skew));
    const connection = this.connectionProblem;
    if (connection !== null && connection !== this.problem) warnings.push(connection);
    if (this.#setup.withoutIpv6) warnings.push(ipv6Unavailable());
    return warnings;
  }

  get #isUp(): boolean {
    return this.#hasNetmap && this.#setup.done && !this.#lockedOut && this.#tunnelProblem === null;
  }

  get state(): DaemonState {
    const { problem, step } = this.#control.status();
    if (problem !== null && (this.#lockedOut || !this.#isUp)) return 'failed';
    if (this.#isUp) return 'up';
    if (this.problem !== null) return 'failed';
    return step === 'pending' ? 'waiting' : 'starting';
  }

  /** For whoever waits: changes when something is getting on. */
  get progress(): { readonly step: string; readonly message: string } {
    const { step, message } = this.#control.status();
    if (this.#setup.running && step === 'connected') {
      return { step: 'interface', message: `configuring the interface ${this.ifname}` };
    }
    return { step, message };
  }

  onPong(listener: (pong: Pong) => void): () => void {
    this.#pongListeners.add(listener);
    return () => this.#pongListeners.delete(listener);
  }

  /** The interface and all sessions are gone when it returns; resolves when the controller has been told, or cannot be. */
  stop(goodbye: 'down' | 'logout' | null): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    for (const stop of this.#stopWatching) stop();
    for (const timer of [this.#settling, this.#retry]) if (timer !== null) clearTimeout(timer);
    this.#setup.close();
    this.#recent.hold();
    const told = this.#control.stop(goodbye);
    const unmapped = this.#whereabouts.close();
    this.#tunnel.close();
    return Promise.all([told, unmapped]).then(() => undefined);
  }

  // — what the controller says —

  #welcome(message: Welcome): void {
    if (this.#closed) return;
    // Whoever was shut out may be let in again; the netmap comes with the snapshot.
    this.#lockedOut = false;
    this.#steppedMs = 0;
    this.mesh.setSelf(message.self, message.network, this.now());
    this.#whereabouts.setController(this.#options.controllerUrl, this.#control.controllerAddress(), message.stunPorts);
    this.#options.events.joined();
    this.#candidatesMayDiffer();
    this.#configure();
  }

  #snapshot(message: Snapshot): void {
    if (this.#closed) return;
    this.#askAfter(this.mesh.applySnapshot(message, this.now()));
    this.#hasNetmap = true;
    this.#greet(this.#unknownRecent.splice(0));
    this.#netmapChanged();
  }

  #delta(message: Delta): void {
    if (this.#closed) return;
    const result = this.mesh.applyDelta(message, this.now());
    if (result.kind === 'applied') {
      this.#askAfter(result.changes);
      // An empty one only moves the position, and who is online is not worth a write.
      if (isWorthKeeping(result.changes)) this.#netmapChanged();
      else this.#options.events.changed();
      return;
    }
    this.#options.log.debug('asking for the whole netmap', { why: result.reason });
    // Not from within a call of the client's.
    setImmediate(() => {
      if (!this.#closed) this.#control.resync();
    });
  }

  /**
   * A peer that is back, or is elsewhere, may have lost the session that we still have. It is asked for a sign of life; the
   * engine makes another session when none comes.
   */
  #askAfter(changes: readonly NetmapChange[]): void {
    const now = this.now();
    for (const id of returned(changes)) {
      if (this.mesh.status(id, now)?.state === 'established') this.mesh.ping(id, now);
    }
  }

  #netmapChanged(): void {
    this.#configure();
    this.#whereabouts.relaysMayDiffer();
    this.#options.events.netmapChanged();
    this.#options.events.changed();
  }

  #controlChanged(): void {
    if (this.#closed) return;
    const { problem, step, lastError } = this.#control.status();
    if (step !== this.#toldStep) {
      this.#toldStep = step;
      this.#options.log.debug('the controller', { step, why: lastError?.message ?? null });
    }
    if (problem !== null && LOCKED_OUT.includes(problem.code) && !this.#lockedOut) this.#lockOut();
    this.#options.events.changed();
  }

  /** At once: every session ends. The addresses go a moment later. */
  #lockOut(): void {
    this.#lockedOut = true;
    this.#hasNetmap = false;
    this.mesh.clear(this.now());
    this.#configure();
    this.#options.events.lockedOut();
  }

  #keySwitched(key: PublicKeyText): void {
    this.#options.events.keySwitched(key);
    if (this.#closed) return;
    const secret = this.#options.privateKey('current');
    this.mesh.setIdentity(secret, this.now());
    secret.fill(0);
  }

  // — the tunnel —

  #openTunnel(): Tunnel {
    const { ifname, port, portMayChange, createPlane, engine, privateKey, events } = this.#options;
    const secret = privateKey('current');
    try {
      const tunnel = Tunnel.open({
        ...engine,
        createPlane,
        ifname,
        privateKey: secret,
        port,
        portMayChange,
        outputs: {
          // Not lost when a punch comes out of the constructor: there is no peer yet.
          punch: (request) => {
            this.#control.punch(request);
          },
          pong: (pong) => {
            for (const listener of this.#pongListeners) listener(pong);
          },
          changed: () => {
            this.#recent.mayDiffer();
            events.changed();
          },
          stun: (datagram, source) => this.#whereabouts.stun.handle(datagram, source),
          // Not from within a call of the engine's.
          home: (home) => setImmediate(() => this.#homeChanged(home)),
          observed: (seen) => {
            if (this.#whereabouts.saw(seen)) this.#scheduleRead();
          },
        },
        onLost: (how) => this.#tunnelLost(how),
      });
      const chosen = tunnel.mesh.listenPort();
      if (chosen !== port) events.portChosen(chosen);
      return tunnel;
    } finally {
      secret.fill(0);
    }
  }

  #tunnelLost(how: 'deleted' | 'down'): void {
    if (this.#closed) return;
    this.#options.log.debug('the interface was lost', { interface: this.ifname, how });
    this.#setup.deviceLost();
    this.#recent.hold();
    if (how === 'down') {
      this.#raise();
      return;
    }
    this.#remakeTunnel();
  }

  /** Set down by somebody: IPv6 addresses and all routes went with it. */
  #raise(): void {
    this.#options.network.setUp(this.ifname, true).then((failure) => {
      if (this.#closed) return;
      this.#told('put the interface up', failure);
      this.mesh.linkUp(this.now());
      this.#configure();
      this.#greetRecent();
      // Deleted meanwhile is told in its own way; whatever else was refused (a port taken by another, no memory) may pass.
      if (this.mesh.running) this.#recent.release();
      else if (failure?.errno !== 'ENODEV') this.#retryLater(() => this.#raise());
    });
  }

  /** They have sessions of which we know nothing any more. */
  #greetRecent(): void {
    this.#greet(this.#recent.ids);
  }

  #greet(ids: readonly NodeId[]): void {
    if (this.#closed || !this.mesh.running) return;
    const now = this.now();
    for (const id of ids) if (this.mesh.netmap.node(id) !== undefined) this.mesh.ping(id, now);
  }

  /** Ids of the peers that have a session, or had one a moment ago. */
  get recent(): readonly NodeId[] {
    return this.#recent.ids;
  }

  #peersWithSession(): readonly NodeId[] | null {
    return this.#closed || !this.mesh.running ? null : peersWithSession(this.mesh);
  }

  #remakeTunnel(): void {
    const saved = this.mesh.netmap.save();
    this.#tunnel.close();
    try {
      this.#tunnel = this.#openTunnel();
      this.#tunnelProblem = null;
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      this.#tunnelProblem = error.problem;
      this.#options.events.changed();
      this.#retryLater(() => this.#remakeTunnel());
      return;
    }
    if (saved !== null) this.mesh.restore(saved, this.now());
    this.mesh.setLocalCandidates(this.#candidates, this.now());
    this.#raise();
  }

  #retryLater(work: () => void): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = null;
      if (!this.#closed) work();
    }, RETRY_MS);
  }

  #told(step: string, failure: { readonly errno: string } | null): void {
    if (failure === null) return;
    const fields = { interface: this.ifname, errno: failure.errno };
    // Deleted in between, which is told in its own way.
    if (failure.errno === 'ENODEV') this.#options.log.debug(`cannot ${step}`, fields);
    else this.#options.log.error(`cannot ${step}`, fields);
  }

  #wanted(): WantedConfiguration {
    const { self, network } = this.mesh.netmap;
    if (self === null || network === null || this.#lockedOut || unfitNetwork(this.mesh.netmap) !== null) {
      return { addresses: [], prefixes: [] };
    }
    return { addresses: [self.address4, self.address6], prefixes: prefixesOf(network) };
  }

  /** Not while there is no device to do it to. */
  #configure(): void {
    if (!this.#closed && this.#tunnelProblem === null) this.#setup.sync();
  }

  // — the machine's network —

  #watchNetwork(): void {
    const { network, watchClock, log } = this.#options;
    this.#stopWatching.push(
      network.onChange(() => this.#scheduleRead()),
      watchClock((jump) => {
        log.debug('the clock has jumped', { slept: Math.round(jump.sleptMs), stepped: Math.round(jump.steppedMs) });
        this.#steppedMs += jump.steppedMs;
        this.#networkChanged();
        this.#scheduleRead();
      }),
    );
  }

  #scheduleRead(): void {
    if (this.#closed || this.#settling !== null) return;
    this.#settling = setTimeout(() => {
      this.#settling = null;
      this.#readNetwork().catch((error: unknown) => {
        this.#options.log.error('reading the network failed', {
          why: error instanceof Error ? error.message : String(error),
        });
      });
    }, SETTLE_MS);
  }

  async #readNetwork(): Promise<void> {
    const { network } = this.#options;
    const [addresses, routes] = await Promise.all([network.addresses(), network.routes()]);
    if (this.#closed) return;
    const seen = reachability(this.ifname, addresses, routes);
    const moved = seen !== this.#seenNetwork && this.#seenNetwork !== '';
    this.#seenNetwork = seen;
    this.#setCandidates(addresses);
    if (moved) {
      this.#options.log.debug('the network changed', { seen });
      this.#networkChanged();
    }
    if (this.#tunnelProblem === null) this.#setup.check(addresses, routes);
  }

  #networkChanged(): void {
    if (this.#closed) return;
    this.#whereabouts.networkChanged(this.mesh.listenPort());
    this.mesh.networkChanged(this.now());
    this.#control.networkChanged();
  }

  #candidatesMayDiffer(): void {
    // Which addresses are inside the mesh is known only now.
    this.#scheduleRead();
  }

  #setCandidates(addresses: readonly HostAddress[]): void {
    const { network } = this.mesh.netmap;
    const port = this.mesh.listenPort();
    const hosts = hostCandidates(addresses, {
      ifname: this.ifname,
      port,
      prefixes: network === null ? [] : prefixesOf(network),
    });
    const candidates = this.#whereabouts.candidates(hosts);
    this.#setReach(this.#whereabouts.reach);
    if (sameCandidates(candidates, this.#candidates) && this.#candidates.length > 0) return;
    this.#candidates = candidates;
    this.mesh.setLocalCandidates(candidates, this.now());
    this.#control.setCandidates(candidates, port);
    this.#options.events.changed();
  }

  #homeChanged(home: Home | null): void {
    if (this.#closed) return;
    this.#whereabouts.setHome(home);
    // The others can use it at once: it does not wait for the network to settle.
    this.#setReach(this.#whereabouts.reach);
  }

  #setReach(reach: Reach): void {
    if (sameReach(reach, this.#reach)) return;
    this.#reach = reach;
    this.#control.setReach(reach);
    this.mesh.setLocalReach(reach);
    this.#options.events.changed();
  }
}

function prefixesOf(network: Network): readonly IpPrefix[] {
  return [network.prefix4, network.prefix6];
}

/** `bytes`: 32. */
export function publicKeyText(bytes: Uint8Array): PublicKeyText {
  return toBase64(bytes) as PublicKeyText;
}
