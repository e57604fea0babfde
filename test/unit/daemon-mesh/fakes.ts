// The mesh node's surroundings in memory: a machine's network, a controller that says what a test lets it say, and the reference
// plane as a device. All of them remember what was asked of them.

import type { Instant, WallTime } from '../../../src/base/instant.ts';
import type { IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { HostAddress, HostNetwork, HostRoute, NetworkOutcome } from '../../../src/daemon/mesh/host-network.ts';
import { MeshHost } from '../../../src/daemon/mesh/mesh-host.ts';
import type { NetmapSealing } from '../../../src/daemon/mesh/netmap-store.ts';
import { ProblemError } from '../../../src/daemon/mesh/problem-error.ts';
import { StateDirectory } from '../../../src/daemon/mesh/state-directory.ts';
import type { ClockJump } from '../../../src/daemon/os/clock-watch.ts';
import {
  type DataPlane,
  DESCRIPTOR_WORDS,
  DescriptorKind,
  LinkChange,
  NO_PEER,
} from '../../../src/dataplane/dataplane.ts';
import { createReferencePlane } from '../../../src/dataplane/reference/plane.ts';
import type { Control, ControlSettings } from '../../../src/link/control.ts';
import type { ControlStart } from '../../../src/mesh/control-client.ts';
import type { ControlProblem, ControlStatus, ControlStep } from '../../../src/mesh/control-status.ts';
import type { SavedNetmap } from '../../../src/mesh/netmap.ts';
import type { PunchRequest, Snapshot, Welcome } from '../../../src/protocol/control.ts';
import { formatJoinLink } from '../../../src/protocol/join-link.ts';
import type { PingLine, Problem, Status, UpLine } from '../../../src/protocol/local-api.ts';
import type { NetmapNode, Network } from '../../../src/protocol/netmap.ts';
import type { Reach } from '../../../src/protocol/reach.ts';
import type { Candidate, NodeId, NodeName, PublicKeyText } from '../../../src/protocol/values.ts';
import { rememberingLog, temporaryDirectory } from '../daemon-fixtures.ts';

export const CONTROLLER_KEY = 'Q'.repeat(43);
export const OTHER_CONTROLLER_KEY = 'R'.repeat(43);
export const SECRET = 'secret-secret-secret';

export function joinLink(options: { readonly key?: string; readonly authKey?: string | null } = {}): string {
  return formatJoinLink({
    url: 'http://192.0.2.1:7370',
    controllerKey: options.key ?? CONTROLLER_KEY,
    authKey: options.authKey === undefined ? SECRET : options.authKey,
  });
}

export const NETWORK: Network = {
  name: 'home',
  prefix4: '100.64.0.0/10' as IpPrefix,
  prefix6: 'fd00:77::/64' as IpPrefix,
};

export function netmapNode(id: number, name: string, change: Partial<NetmapNode> = {}): NetmapNode {
  const key = new Uint8Array(32).fill(id);
  return {
    id: id as NodeId,
    name: name as NodeName,
    publicKey: Buffer.from(key).toString('base64') as PublicKeyText,
    address4: `100.64.0.${id}` as IpAddress,
    address6: `fd00:77::${id}` as IpAddress,
    tags: [],
    candidates: [],
    online: true,
    ...change,
  };
}

export function address(ifname: string, text: string, change: Partial<HostAddress> = {}): HostAddress {
  const [ip = '', length] = text.split('/');
  return {
    ifname,
    ifindex: 2,
    address: ip as IpAddress,
    prefixLength: Number(length ?? 24),
    up: true,
    loopback: false,
    scope: 'global',
    tentative: false,
    deprecated: false,
    temporary: false,
    ...change,
  };
}

export class FakeNetwork implements HostNetwork {
  others: HostAddress[] = [address('eth0', '192.0.2.10/24')];
  otherRoutes: HostRoute[] = [];
  /** What our interface has; a step that is named in `failing` fails. */
  own = new Map<string, { addresses: readonly IpAddress[]; routes: readonly IpPrefix[]; up: boolean }>();
  failing = new Map<string, string>();
  /** Left out in silence, as the kernel's want of it is. */
  withoutIpv6 = false;
  /** Times that our interface was given addresses. */
  configurations = 0;
  /** Times that the addresses were asked for. */
  reads = 0;
  readonly #listeners = new Set<() => void>();

  #of(ifname: string): { addresses: readonly IpAddress[]; routes: readonly IpPrefix[]; up: boolean } {
    const own = this.own.get(ifname) ?? { addresses: [], routes: [], up: false };
    this.own.set(ifname, own);
    return own;
  }

  #outcome(step: string): Promise<NetworkOutcome> {
    const errno = this.failing.get(step);
    return Promise.resolve(errno === undefined ? null : { errno, step });
  }

  async setAddresses(ifname: string, addresses: readonly IpAddress[]): Promise<NetworkOutcome> {
    this.configurations++;
    const failure = await this.#outcome('setAddresses');
    const kept = addresses.filter((one) => !this.withoutIpv6 || !one.includes(':'));
    if (failure === null) this.#of(ifname).addresses = kept;
    return failure;
  }

  async setRoutes(ifname: string, prefixes: readonly IpPrefix[]): Promise<NetworkOutcome> {
    const failure = await this.#outcome('setRoutes');
    const kept = prefixes.filter((one) => !this.withoutIpv6 || !one.includes(':'));
    if (failure === null) this.#of(ifname).routes = kept;
    return failure;
  }

  setMtu(): Promise<NetworkOutcome> {
    return Promise.resolve(null);
  }

  async setUp(ifname: string, up: boolean): Promise<NetworkOutcome> {
    const failure = await this.#outcome('setUp');
    if (failure === null) this.#of(ifname).up = up;
    return failure;
  }

  removeInterface(): Promise<NetworkOutcome> {
    return Promise.resolve(null);
  }

  addresses(): Promise<readonly HostAddress[]> {
    this.reads++;
    const ours = [...this.own].flatMap(([ifname, { addresses }]) =>
      addresses.map((one) => address(ifname, `${one}/${one.includes(':') ? 128 : 32}`, { ifindex: 9 })),
    );
    return Promise.resolve([...this.others, ...ours]);
  }

  routes(): Promise<readonly HostRoute[]> {
    const ours = [...this.own].flatMap(([ifname, { routes }]) =>
      routes.map((prefix) => ({ prefix, ifname, ifindex: 9, gateway: null })),
    );
    return Promise.resolve([...this.otherRoutes, ...ours]);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get watched(): boolean {
    return this.#listeners.size > 0;
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  close(): void {}
}

/** The controller's end and the client in between: a test says what comes. */
export class FakeControl implements Control {
  readonly reaches: (Reach | null)[] = [];
  reachedAt: IpAddress | null = null;
  readonly settings: ControlSettings;
  started: ControlStart | null = null;
  stopped: 'down' | 'logout' | 'silent' | null = null;
  candidates: readonly Candidate[] = [];
  listenPort = 0;
  networkChanges = 0;
  resyncs = 0;
  readonly punches: PunchRequest[] = [];
  readonly persisted: PublicKeyText[] = [];
  #status: ControlStatus = {
    state: 'offline',
    step: 'stopped',
    message: 'not connecting',
    since: 0 as WallTime,
    lastError: null,
    problem: null,
    position: null,
    clockSkewMs: null,
    retryAt: null,
  };

  constructor(settings: ControlSettings) {
    this.settings = settings;
  }

  start(start: ControlStart): void {
    this.started = start;
    this.says({ state: 'connecting', step: 'connecting', message: 'connecting to the controller', lastError: null });
  }

  stop(goodbye: 'down' | 'logout' | null): Promise<void> {
    this.stopped = goodbye ?? 'silent';
    return Promise.resolve();
  }

  setReach(reach: Reach | null): void {
    this.reaches.push(reach);
  }

  setCandidates(candidates: readonly Candidate[], listenPort: number): void {
    this.candidates = candidates;
    this.listenPort = listenPort;
  }

  controllerAddress(): IpAddress | null {
    return this.reachedAt;
  }

  networkChanged(): void {
    this.networkChanges++;
  }

  punch(request: PunchRequest): boolean {
    this.punches.push(request);
    return true;
  }

  resync(): void {
    this.resyncs++;
  }

  rotateKey(publicKey: PublicKeyText): boolean {
    this.settings.events.persistNextKey(publicKey);
    return true;
  }

  nextKeyPersisted(publicKey: PublicKeyText): void {
    this.persisted.push(publicKey);
  }

  status(): ControlStatus {
    return this.#status;
  }

  says(change: Partial<ControlStatus>): void {
    this.#status = { ...this.#status, ...change };
    this.settings.events.changed();
  }

  refuses(code: ControlProblem['code'], message: string = code, help: string | null = 'do something'): void {
    this.says({
      state: 'offline',
      step: 'failed',
      message,
      problem: { code, message, help },
      lastError: { code, message },
    });
  }

  unreachable(code = 'unreachable', message = 'nobody listens there'): void {
    this.says({ state: 'offline', step: 'backoff', message: `${message}; trying again`, lastError: { code, message } });
  }

  welcome(self: NetmapNode, network: Network = NETWORK): void {
    const message: Welcome = {
      type: 'welcome',
      version: 1,
      software: 'test',
      self,
      network,
      epoch: 'e'.repeat(16),
      observedAddress: null,
      time: 0 as WallTime,
      pingIntervalMs: 15_000,
      stunPorts: [],
    };
    this.#status = { ...this.#status, problem: null };
    this.settings.events.welcome(message);
    this.says({ state: 'connected', step: 'netmap', message: 'receiving the network map', lastError: null });
  }

  snapshot(nodes: readonly NetmapNode[], network: Network = NETWORK, seq = 1): void {
    const message: Snapshot = { type: 'snapshot', epoch: 'e'.repeat(16), seq, network, nodes: [...nodes] };
    this.settings.events.snapshot(message);
    this.says({ state: 'connected', step: 'connected', message: 'connected' });
  }

  /** Lets the node in, as `self`. */
  admit(self: NetmapNode, others: readonly NetmapNode[] = [], network: Network = NETWORK): void {
    this.welcome(self, network);
    this.snapshot([self, ...others], network);
  }

  step(step: ControlStep, message: string): void {
    this.says({ state: 'connecting', step, message });
  }
}

/** Sealed by writing it down: what sealing is, is tested elsewhere. */
const plainSealing: NetmapSealing = {
  seal: (file, netmap) => Buffer.from(JSON.stringify({ key: file.privateKey, netmap })),
  unseal: (file, sealed) => {
    const { key, netmap } = JSON.parse(Buffer.from(sealed).toString()) as { key: string; netmap: SavedNetmap };
    return key === file.privateKey ? { netmap } : { reason: 'of another key' };
  },
};

export interface PlaneRecord {
  readonly plane: DataPlane;
  readonly ifname: string;
  closed: boolean;
  /** As the kernel would say it. */
  link(change: keyof typeof LinkChange): void;
}

/** A daemon's inside, on a state directory that may be used again by the next. */
export class World {
  readonly directory: string;
  network = new FakeNetwork();
  readonly controls: FakeControl[] = [];
  readonly planes: PlaneRecord[] = [];
  readonly logged: string[];
  /** What the next tunnel fails with. */
  tunProblem: Problem | null = null;
  /** Ports that others have. */
  readonly takenPorts = new Set<number>();
  port = 0;
  host!: MeshHost;
  #state: StateDirectory | null = null;
  #jump: (jump: ClockJump) => void = () => undefined;
  readonly #log: ReturnType<typeof rememberingLog>;

  constructor() {
    this.directory = temporaryDirectory();
    this.#log = rememberingLog();
    this.logged = this.#log.lines;
  }

  async open(): Promise<MeshHost> {
    this.#state = await StateDirectory.open(this.directory);
    this.host = new MeshHost({
      version: '1.2.3',
      ifname: 'warren0',
      port: this.port,
      idleTimeoutMs: Number.POSITIVE_INFINITY,
      state: this.#state,
      network: this.network,
      createPlane: (ifname, onWake) => this.#createPlane(ifname, onWake),
      openControl: (settings) => {
        const control = new FakeControl(settings);
        this.controls.push(control);
        return control;
      },
      watchClock: (onJump) => {
        this.#jump = onJump;
        return () => undefined;
      },
      sealing: plainSealing,
      log: this.#log.log,
    });
    await this.host.resume();
    return this.host;
  }

  async close(): Promise<void> {
    await this.host.close();
    await this.#state?.close();
    this.#state = null;
  }

  /** The daemon ends and is started again. */
  async restart(): Promise<MeshHost> {
    await this.close();
    // The device went with the process, and with it what it had.
    this.network.own.clear();
    return this.open();
  }

  get control(): FakeControl {
    const control = this.controls.at(-1);
    if (control === undefined) throw new Error('nothing has connected yet');
    return control;
  }

  get plane(): PlaneRecord {
    const plane = this.planes.at(-1);
    if (plane === undefined) throw new Error('there was no tunnel yet');
    return plane;
  }

  status(): Status {
    return this.host.status({ kind: 'all' });
  }

  jumpClock(jump: ClockJump): void {
    this.#jump(jump);
  }

  #createPlane(ifname: string, onWake: () => void): { plane: DataPlane; ifname: string } {
    if (this.tunProblem !== null) throw new ProblemError(this.tunProblem);
    const plane = createReferencePlane({ crypto: nodeProvider, onWake });
    plane.io.setNow(1 as Instant);
    const bind = plane.bind.bind(plane);
    plane.bind = (config) => (this.takenPorts.has(config.port) ? { ok: false, errno: 'EADDRINUSE' } : bind(config));
    const record: PlaneRecord = { plane, ifname, closed: false, link: linkEvents(plane, onWake) };
    const close = plane.close.bind(plane);
    plane.close = () => {
      record.closed = true;
      this.network.own.delete(ifname);
      close();
    };
    this.planes.push(record);
    return { plane, ifname };
  }
}

/** The reference plane has no link: what the kernel would say of one is put in front of what it has. */
function linkEvents(plane: DataPlane, onWake: () => void): PlaneRecord['link'] {
  const pending: number[] = [];
  let injected = false;
  const poll = plane.poll.bind(plane);
  const release = plane.release.bind(plane);
  plane.poll = (now) => {
    const change = pending.shift();
    if (change === undefined) return poll(now);
    plane.descriptors.fill(0, 0, DESCRIPTOR_WORDS);
    plane.descriptors[0] = DescriptorKind.link;
    plane.descriptors[1] = NO_PEER;
    plane.descriptors[12] = change;
    injected = true;
    return 1;
  };
  plane.release = (count) => {
    if (!injected) return release(count);
    injected = false;
  };
  return (change) => {
    pending.push(LinkChange[change]);
    onWake();
  };
}

/** What `up` tells until it is over. */
export class Upping {
  readonly lines: UpLine[] = [];
  readonly done: Promise<void>;
  readonly #gone = new AbortController();

  constructor(host: MeshHost, request: { joinLink?: string | null; hostname?: string; timeoutMs?: number } = {}) {
    const { joinLink: link = null, hostname = null, timeoutMs = 20_000 } = request;
    this.done = host.up({ joinLink: link, hostname, timeoutMs }, (line) => this.lines.push(line), this.#gone.signal);
    // Whoever awaits `done` hears of it; nobody else has to.
    this.done.catch(() => undefined);
  }

  leave(): void {
    this.#gone.abort();
  }

  get last(): UpLine | undefined {
    return this.lines.at(-1);
  }
}

export type { PingLine };
