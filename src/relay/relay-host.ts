// A relay as a process runs it: its directory, a data plane without a TUN, the engine, and the connection to the controller that tells it who
// the members are. Alone (relay-main.ts) or inside a controller's process. Who is served is decided in engine/.

import { getRandomValues } from 'node:crypto';
import type { Instant, WallTime } from '../base/instant.ts';
import { nodeProvider } from '../crypto/node.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import { MeshControl } from '../link/mesh-control.ts';
import type { ControlStatus } from '../mesh/control-status.ts';
import type { NetmapChange } from '../mesh/netmap.ts';
import type { Delta, Snapshot, Welcome } from '../protocol/control.ts';
import { parseJoinLink } from '../protocol/join-link.ts';
import { RELAY_TAG } from '../protocol/reach.ts';
import type { Candidate } from '../protocol/values.ts';
import type { Log } from '../service/log.ts';
import { StartError } from '../service/start-error.ts';
import { RelayEngine, type RelayEngineLimits } from './engine/relay-engine.ts';
import { hostCandidates, type PublicAddress, publicCandidates } from './relay-addresses.ts';
import { keyBytes, newRelayFile, type RelayFile, RelayState } from './relay-state.ts';

export interface RelaySettings {
  readonly stateDirectory: string;
  /** Of UDP. */
  readonly port: number;
  /** Null: none is needed. */
  readonly joinLink: string | null;
  /** Where its controller is, when whoever starts it knows better than what it joined with. */
  readonly controller: { readonly url: string; readonly key: string } | null;
  /** Where nodes reach it. */
  readonly publicAddresses: readonly PublicAddress[];
  /** Whether the addresses of this machine's interfaces are told beside those. */
  readonly tellInterfaces: boolean;
  /** Where datagrams may ride a WebSocket; null = nowhere. */
  readonly url: string | null;
  readonly hostname: string;
  readonly limits: RelayEngineLimits;
  readonly version: string;
}

export interface RelayHostOptions {
  readonly settings: RelaySettings;
  /** Without a TUN. `onWake` may be called at any moment, from within a call of the plane too. */
  readonly createPlane: (onWake: () => void) => DataPlane;
  readonly log: Log;
  /** A fresh link when the controller knows us no more; asked once after each start. */
  readonly renewLink?: () => Promise<string>;
}

/** Errors after which a fresh auth key may help. Not those by which an administrator shuts a member out for a while. */
const RENEWABLE: readonly string[] = ['unregistered', 'nodeRemoved', 'authKeyInvalid', 'authKeyExpired', 'authKeyUsed'];
const BATCHES_PER_TURN = 4;
/** How often the interfaces are looked at: a relay's address seldom changes. */
const INTERFACES_MS = 30_000;
const SAVE_NETMAP_MS = 5_000;
const SAVE_USAGE_MS = 300_000;
/** While draining: how often it is looked at whether anybody is left. */
const DRAIN_LOOK_MS = 200;
/** A client that was welcomed says so within this, unless the controller is away. */
const FIRST_WORD_MS = 10_000;

export class RelayHost {
  readonly engine: RelayEngine;
  readonly plane: DataPlane;
  readonly #settings: RelaySettings;
  readonly #log: Log;
  readonly #renewLink: (() => Promise<string>) | null;
  readonly #state: RelayState;
  readonly #listeners = new Set<() => void>();
  readonly #timers: NodeJS.Timeout[] = [];
  #file: RelayFile;
  #control: MeshControl | null = null;
  #wakeScheduled: NodeJS.Immediate | null = null;
  #saveNetmap: NodeJS.Timeout | null = null;
  #candidates = '';
  #told: string | null = null;
  #renewed = false;
  #renewing = false;
  #closed = false;

  /**
   * Its port is open when it resolves, and the controller has answered, or had time to. Rejects with a StartError: no membership, the
   * directory, the port (`code` EADDRINUSE), or a controller that does not let it in.
   */
  static async start(options: RelayHostOptions): Promise<RelayHost> {
    const { settings, renewLink } = options;
    const state = await RelayState.open(settings.stateDirectory);
    let host: RelayHost | null = null;
    try {
      const before = known(state.read(), settings.controller);
      const fresh = before?.joined !== true && renewLink !== undefined;
      const file = membership(before, fresh ? await renewLink() : settings.joinLink, settings.stateDirectory);
      await state.write(file);
      host = new RelayHost(options, state, file);
      host.#open();
      await host.#firstWord();
      return host;
    } catch (error) {
      if (host === null) await state.close();
      else await host.close();
      throw error;
    }
  }

  private constructor({ settings, createPlane, log, renewLink }: RelayHostOptions, state: RelayState, file: RelayFile) {
    this.#settings = settings;
    this.#log = log;
    this.#renewLink = renewLink ?? null;
    this.#state = state;
    this.#file = file;
    const slotSecret = keyBytes(file.slotSecret);
    this.plane = createPlane(() => this.#schedule());
    this.engine = new RelayEngine({
      plane: this.plane,
      crypto: nodeProvider,
      random: (out) => {
        getRandomValues(out);
      },
      wallClock: () => Date.now() as WallTime,
      slotSecret,
      limits: settings.limits,
    });
    slotSecret.fill(0);
  }

  /** Of UDP. */
  get port(): number {
    return this.engine.engine.listenPort();
  }

  /** Null before it has begun. */
  get controlStatus(): ControlStatus | null {
    return this.#control?.status() ?? null;
  }

  onChange(listener: () => void): () => void {
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  // — start —

  #open(): void {
    const now = this.plane.now();
    const privateKey = keyBytes(this.#file.privateKey);
    this.engine.setIdentity(privateKey, now);
    privateKey.fill(0);
    const errno = this.engine.linkUp(this.#settings.port, now);
    if (errno !== null) throw cannotBind(this.#settings.port, errno);
    const saved = this.#file.joined ? this.#state.readNetmap(this.#file) : null;
    if (saved !== null) this.engine.restore(saved, now);
    const usage = this.#state.readUsage();
    if (usage !== null) this.engine.usage.restore(usage, Date.now() as WallTime);
    this.#connect(saved !== null);
    this.#every(INTERFACES_MS, () => this.#tellAddresses(true));
    if (this.engine.usage.limited) this.#every(SAVE_USAGE_MS, () => this.#keepUsage());
  }

  #every(ms: number, act: () => void): void {
    const timer = setInterval(act, ms);
    timer.unref();
    this.#timers.push(timer);
  }

  #connect(resume: boolean): void {
    const { controller, authKey } = this.#file;
    const control = new MeshControl(
      {
        url: controller.url,
        controllerKey: controller.key,
        privateKey: () => keyBytes(this.#file.privateKey),
        events: {
          welcome: (message) => this.#welcomed(message),
          snapshot: (message) => this.#snapshot(message),
          delta: (message) => this.#delta(message),
          // Nobody is let in by us: who has something to say knows where we are.
          punch: () => undefined,
          persistNextKey: () => undefined,
          keySwitched: () => undefined,
          nextKeyRefused: () => undefined,
          changed: () => this.#changed(),
        },
      },
      `warren ${this.#settings.version}`,
    );
    this.#control = control;
    this.#tellAddresses(false);
    const position = resume ? this.engine.netmap.position : null;
    control.start({ hostname: this.#settings.hostname, authKey, resume: position, nextKey: null });
  }

  /** Whether it works is known soon, or the controller is away: then it goes on with what it has, and tries. */
  async #firstWord(): Promise<void> {
    const end = performance.now() + FIRST_WORD_MS;
    for (;;) {
      const status = this.#control?.status();
      const left = end - performance.now();
      if (status === undefined || left <= 0 || status.step === 'connected' || status.step === 'pending') return;
      if (status.problem !== null && !this.#renewing && !this.#mayRenew(status)) {
        const { message, help } = status.problem;
        throw new StartError({ what: 'the controller does not let the relay in', why: message, help });
      }
      // A member serves at once.
      if (status.step === 'backoff' && this.#file.joined) return;
      await this.#nextChange(left);
    }
  }

  #nextChange(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        stop();
        resolve();
      };
      const timer = setTimeout(finish, limitMs);
      const stop = this.onChange(finish);
    });
  }

  // — the controller —

  #welcomed(message: Welcome): void {
    this.engine.setSelf(message.self, message.network, this.plane.now());
    if (!message.self.tags.includes(RELAY_TAG)) {
      this.#log.error('the controller does not know this machine as a relay, and so nobody will use it', {
        help: `give it the tag ${RELAY_TAG}, or join with a key of: warren keys create --tag ${RELAY_TAG}`,
      });
    }
    // The network's own addresses are known by now.
    setImmediate(() => this.#tellAddresses(false));
    if (this.#file.joined && this.#file.authKey === null) return;
    this.#remember({ ...this.#file, joined: true, authKey: null });
  }

  #snapshot(message: Snapshot): void {
    this.engine.applySnapshot(message, this.plane.now());
    this.#netmapChanged();
  }

  #delta(message: Delta): void {
    const result = this.engine.applyDelta(message, this.plane.now());
    if (result.kind === 'resync') this.#control?.resync();
    else if (result.changes.some(isWorthKeeping)) this.#netmapChanged();
  }

  /** Called from within the control client: nothing of it is called back at once. */
  #changed(): void {
    setImmediate(() => {
      if (this.#closed) return;
      this.#look();
      for (const listener of [...this.#listeners]) listener();
    });
  }

  #look(): void {
    const status = this.#control?.status();
    if (status === undefined) return;
    const problem = status.problem ?? (status.step === 'backoff' ? status.lastError : null);
    if (problem !== null && problem.message !== this.#told) {
      this.#log.error('the controller', { why: problem.message });
    }
    if (status.step === 'connected' && this.#told !== null) this.#log.info('the controller is back');
    if (problem !== null || status.step === 'connected') this.#told = problem?.message ?? null;
    if (status.problem === null) return;
    // Whoever is shut out serves nobody.
    this.engine.clear(this.plane.now());
    this.#state.removeNetmap().catch(() => undefined);
    if (this.#mayRenew(status)) this.#renew();
  }

  #mayRenew({ problem }: ControlStatus): boolean {
    return this.#renewLink !== null && !this.#renewed && problem !== null && RENEWABLE.includes(problem.code);
  }

  #renew(): void {
    this.#renewed = true;
    this.#renewing = true;
    const renew = async (): Promise<void> => {
      const link = await this.#renewLink?.();
      if (link === undefined || this.#closed) return;
      await this.#remember(membership({ ...this.#file, joined: false }, link, this.#settings.stateDirectory));
      await this.#control?.stop(null);
      if (!this.#closed) this.#connect(false);
    };
    renew()
      .catch((error: unknown) => this.#log.error('the relay cannot join again', { why: String(error) }))
      .finally(() => {
        this.#renewing = false;
        this.#changed();
      });
  }

  async #remember(file: RelayFile): Promise<void> {
    this.#file = file;
    await this.#state.write(file).catch((error: unknown) => {
      this.#log.error('the membership of the relay cannot be written', { why: String(error) });
    });
  }

  #netmapChanged(): void {
    this.#saveNetmap ??= setTimeout(() => {
      this.#saveNetmap = null;
      this.#keepNetmap();
    }, SAVE_NETMAP_MS).unref();
  }

  #keepNetmap(): void {
    const netmap = this.engine.netmap.save();
    // What cannot be written is a help that is missing, not a failure.
    if (netmap !== null) this.#state.writeNetmap(this.#file, netmap).catch(() => undefined);
  }

  #keepUsage(): void {
    this.#state.writeUsage(this.engine.usage.save(Date.now() as WallTime)).catch(() => undefined);
  }

  // — what it tells of itself —

  #tellAddresses(look: boolean): void {
    const control = this.#control;
    if (control === null || this.#closed) return;
    const candidates = this.#ownCandidates();
    const text = candidates.map(({ endpoint }) => endpoint).join();
    if (look && text !== this.#candidates) control.networkChanged();
    this.#candidates = text;
    control.setReach({ home: null, mapping: 'unknown', udp: 'works', url: this.#settings.url });
    control.setCandidates(candidates, this.port);
  }

  #ownCandidates(): Candidate[] {
    const { publicAddresses, tellInterfaces } = this.#settings;
    const network = this.engine.netmap.network;
    const told = publicCandidates(publicAddresses, this.port);
    const own = tellInterfaces
      ? hostCandidates(this.port, network === null ? [] : [network.prefix4, network.prefix6])
      : [];
    const seen = new Set<string>(own.map(({ endpoint }) => endpoint));
    return [...told.filter(({ endpoint }) => !seen.has(endpoint)), ...own];
  }

  // — the plane —

  #schedule(): void {
    if (this.#closed || this.#wakeScheduled !== null) return;
    this.#wakeScheduled = setImmediate(() => this.#wake());
  }

  #wake(): void {
    this.#wakeScheduled = null;
    for (let batch = 0; batch < BATCHES_PER_TURN; batch++) {
      if (this.#closed || !this.engine.handleWake(this.plane.now())) return;
    }
    this.#schedule();
  }

  // — the end —

  /** Tells everyone to go, and waits until they have, or for so long; not at all when there is no other relay to go to. */
  async drain(limitMs: number): Promise<void> {
    // Without the controller it is not known who is there.
    const known = this.#control?.status().state === 'connected';
    const relays = [...this.engine.netmap.nodes()].filter(({ tags }) => tags.includes(RELAY_TAG));
    const waitMs = relays.some(({ online }) => online || !known) ? limitMs : 0;
    const told = this.engine.drain(waitMs / 1000, this.plane.now());
    if (told === 0) return;
    const end = performance.now() + waitMs;
    this.engine.stillUsed();
    while (performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS));
      if (this.engine.stillUsed() === 0) return;
    }
  }

  /** Idempotent. The others hear at once that it is off. */
  async close(): Promise<void> {
    if (this.#closed) return;
    if (this.engine.usage.limited) this.#keepUsage();
    if (this.#saveNetmap !== null) {
      clearTimeout(this.#saveNetmap);
      this.#keepNetmap();
    }
    await this.#control?.stop('down');
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#wakeScheduled !== null) clearImmediate(this.#wakeScheduled);
    this.engine.close(this.plane.now() as Instant);
    this.plane.close();
    await this.#state.close();
  }
}

/** Who the members are, and with which keys; where they are and whether they are there is old when it is read again. */
function isWorthKeeping(change: NetmapChange): boolean {
  return change.kind !== 'changed' || change.aspects.includes('tags');
}

/** A member of another controller's network is none of this one's, but keeps its keys. */
function known(file: RelayFile | null, controller: RelaySettings['controller']): RelayFile | null {
  if (file === null || controller === null) return file;
  return { ...file, controller, joined: file.joined && file.controller.key === controller.key };
}

/** Throws a StartError when there is none. A link for a member is kept until the controller has shown that it is not needed. */
function membership(before: RelayFile | null, link: string | null, directory: string): RelayFile {
  if (link === null) {
    if (before !== null) return before;
    throw new StartError({
      what: 'the relay belongs to no network',
      why: `there is no membership in ${directory}`,
      help: `on the controller: warren keys create --tag ${RELAY_TAG}; here: warren relay --join LINK`,
    });
  }
  const parsed = parseJoinLink(link);
  if (!parsed.ok) {
    throw new StartError({ what: 'the join link is of no use', why: parsed.reason, help: 'copy it again, whole' });
  }
  const { url, controllerKey: key, authKey } = parsed.link;
  if (before?.joined === true && before.controller.key !== key) {
    throw new StartError({
      what: 'the relay is a member of another network',
      why: `it belongs to the controller at ${before.controller.url}`,
      help: `give it another directory with --state DIR, or remove ${directory} to leave that network`,
    });
  }
  if (before !== null) return { ...before, controller: { url, key }, authKey };
  if (authKey === null) {
    throw new StartError({
      what: 'the join link is of no use',
      why: 'it has no secret in it',
      help: `make one with: warren keys create --tag ${RELAY_TAG}`,
    });
  }
  return newRelayFile({ url, key }, authKey);
}

function cannotBind(port: number, errno: string): StartError {
  const what = `cannot open UDP port ${port}`;
  const failure =
    errno === 'EADDRINUSE'
      ? { why: 'it is in use', help: `ss -lunp 'sport = :${port}' shows by whom; or choose another with --port N` }
      : { why: errno, help: 'choose another with --port N' };
  return Object.assign(new StartError({ what, ...failure }), { code: errno });
}
