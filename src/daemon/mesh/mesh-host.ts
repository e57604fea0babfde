// The daemon behind its local API: which network this machine belongs to, whether it is wanted up, and the node that runs when it
// is. What is remembered is on the disk before anyone is told. What is asked at the same time is done one after another.

import { getRandomValues } from 'node:crypto';
import type { WallTime } from '../../base/instant.ts';
import { nodeProvider } from '../../crypto/node.ts';
import type { OpenControl } from '../../link/control.ts';
import type { SavedNetmap } from '../../mesh/netmap.ts';
import type {
  DaemonState,
  PingLine,
  PingRequest,
  Problem,
  Status,
  UpLine,
  UpRequest,
} from '../../protocol/local-api.ts';
import type { NetcheckReport, WhyReport } from '../../protocol/path-report.ts';
import type { NodeId, PublicKeyText } from '../../protocol/values.ts';
import type { Log } from '../log.ts';
import type { CreatePortMapper } from '../portmap/port-mapper.ts';
import type { HostNetwork } from './host-network.ts';
import type { LocalBackend, PeerFilter } from './local-api-server.ts';
import { joining, publicKeyOf, resumed, sameMembership, startOf } from './membership.ts';
import { MeshNode, type WatchClock } from './mesh-node.ts';
import { netcheck } from './netcheck.ts';
import { type NetmapSealing, NetmapStore } from './netmap-store.ts';
import { keyBytes, type NodeFile, newPrivateKey } from './node-file.ts';
import { whyReport } from './path-view.ts';
import { findPeer } from './peer-lookup.ts';
import { Pinger } from './pinger.ts';
import { ProblemError, toProblem } from './problem-error.ts';
import { linkNotUsed, notConfigured, notRotated, ourselves, rotating, timedOut } from './problems.ts';
import { RECENT_MAX } from './recent-peers.ts';
import { StampLease } from './stamp-lease.ts';
import type { StateDirectory } from './state-directory.ts';
import { statusOf } from './status-view.ts';
import type { CreatePlane } from './tunnel.ts';

/** A node that could not begin (port taken, no TUN) is tried again after this long while it is wanted up. */
const BEGIN_AGAIN_MS = 5000;
/** Of one `up`. */
const PROGRESS_MAX = 64;
/** Who is connected changes often on a busy machine. */
const RECENT_AFTER_MS = 2000;
/** How long a logout looks for the controller before the keys go anyway. */
const LOGOUT_LIMIT_MS = 3000;
const ROTATE_LIMIT_MS = 10_000;

export interface MeshHostOptions {
  readonly version: string;
  readonly ifname: string;
  /** 0 = a random one that is kept. */
  readonly port: number;
  readonly idleTimeoutMs: number;
  readonly state: StateDirectory;
  readonly network: HostNetwork;
  readonly createPlane: CreatePlane;
  /** Absent: no gateway is asked to map a port. */
  readonly createPortMapper?: CreatePortMapper;
  readonly openControl: OpenControl;
  readonly watchClock: WatchClock;
  readonly sealing: NetmapSealing;
  readonly log: Log;
}

export class MeshHost implements LocalBackend {
  readonly #options: MeshHostOptions;
  readonly #netmaps: NetmapStore;
  readonly #stamps: StampLease;
  readonly #listeners = new Set<() => void>();
  #file: NodeFile | null;
  #node: MeshNode | null = null;
  /** Why there is no node although one is wanted. */
  #beginProblem: Problem | null = null;
  #again: NodeJS.Timeout | null = null;
  #recentTimer: NodeJS.Timeout | null = null;
  #recentWaits = false;
  #doing: Promise<unknown> = Promise.resolve();
  #closed = false;
  #publicKey: { readonly of: string | null; readonly text: PublicKeyText | null } = { of: null, text: null };

  /** Reads what is remembered. Throws a ProblemError when it cannot be read. */
  constructor(options: MeshHostOptions) {
    this.#options = options;
    this.#file = options.state.readNode();
    this.#netmaps = new NetmapStore(options.state, options.sealing, options.log);
    this.#stamps = new StampLease(options.state, options.log);
  }

  /** Goes up when that was wanted last. What goes wrong then is in the status. */
  async resume(): Promise<void> {
    if (this.#file?.wanted !== 'up') return;
    await this.#inTurn(() => this.#begin().catch((error: unknown) => this.#beginFailed(error)));
  }

  /** Everything ends; what is wanted stays as it was. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#end(null);
  }

  // — LocalBackend —

  status(filter: PeerFilter): Status {
    const file = this.#file;
    return statusOf(
      {
        version: this.#options.version,
        state: this.#state,
        problem: this.#problem,
        node: this.#node,
        publicKey: this.#publicKeyOf(file?.privateKey ?? null),
        controllerUrl: file?.controller.url ?? null,
      },
      filter,
    );
  }

  /** Worked out once: whoever watches asks for it all the time. */
  #publicKeyOf(privateKey: string | null): PublicKeyText | null {
    if (privateKey !== this.#publicKey.of) this.#publicKey = { of: privateKey, text: publicKeyOf(privateKey) };
    return this.#publicKey.text;
  }

  onChange(listener: () => void): () => void {
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  async up(request: UpRequest, tell: (line: UpLine) => void, signal: AbortSignal): Promise<void> {
    await this.#inTurn(() => this.#goUp(request, tell));
    await this.#untilUp(request, tell, signal);
  }

  down(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#file === null) return;
      await this.#end('down');
      await this.#remember({ ...this.#file, wanted: 'down' });
    });
  }

  logout(): Promise<{ readonly told: boolean }> {
    return this.#inTurn(async () => {
      if (this.#file === null) throw new ProblemError(notConfigured());
      if (this.#file.joined) await this.#lookForController();
      const told = this.#node?.control.status().state === 'connected';
      await this.#end('logout');
      await this.#netmaps.forget();
      await this.#options.state.destroy();
      this.#file = null;
      this.#beginProblem = null;
      this.#changed();
      return { told };
    });
  }

  /** The next key is on the disk before the controller hears of it, and the old one until it has taken the new. */
  rotateKey(): Promise<{ readonly publicKey: string }> {
    return this.#inTurn(async () => {
      const node = this.#running();
      const file = this.#file;
      if (file === null || node.control.status().state !== 'connected') {
        throw new ProblemError(node.connectionProblem ?? timedOut(0, node.progress.message));
      }
      const next = { ...file, nextPrivateKey: file.nextPrivateKey ?? newPrivateKey() };
      const publicKey = publicKeyOf(next.nextPrivateKey);
      if (publicKey === null) throw new Error('the next key is there');
      await this.#remember(next);
      if (!node.control.rotateKey(publicKey)) throw new ProblemError(rotating());
      await this.#untilOrLimit(() => this.#file?.nextPrivateKey === null, ROTATE_LIMIT_MS);
      if (this.#file?.privateKey !== next.nextPrivateKey) throw new ProblemError(notRotated());
      return { publicKey };
    });
  }

  async ping(request: PingRequest, tell: (line: PingLine) => void, signal: AbortSignal): Promise<void> {
    const node = this.#running();
    const { node: peer, self } = findPeer(node.mesh.netmap, request.peer);
    if (self) throw new ProblemError(ourselves(peer.name));
    await new Pinger(node, peer, request, tell).run(signal);
  }

  flush(name: string): { readonly name: string; readonly closed: boolean } {
    const node = this.#running();
    const { node: peer, self } = findPeer(node.mesh.netmap, name);
    if (self) throw new ProblemError(ourselves(peer.name));
    const now = node.now();
    const closed = node.mesh.status(peer.id, now)?.state !== 'idle';
    node.mesh.flushPeer(peer.id, now);
    this.#changed();
    return { name: peer.name, closed };
  }

  why(name: string): WhyReport {
    return whyReport(this.#running(), name);
  }

  netcheck(): Promise<NetcheckReport> {
    return netcheck(this.#running());
  }

  #running(): MeshNode {
    if (this.#node !== null) return this.#node;
    throw new ProblemError(this.#problem ?? (this.#file === null ? notConfigured() : isDown()));
  }

  // — what it is —

  get #state(): DaemonState {
    if (this.#file === null) return 'unconfigured';
    if (this.#node !== null) return this.#node.state;
    if (this.#beginProblem !== null) return 'failed';
    return this.#file.wanted === 'down' ? 'down' : 'starting';
  }

  get #problem(): Problem | null {
    return this.#node === null ? this.#beginProblem : this.#node.problem;
  }

  // — up —

  async #goUp(request: UpRequest, tell: (line: UpLine) => void): Promise<void> {
    const before = this.#file;
    const next = request.joinLink === null ? resumed(before, request) : joining(before, request.joinLink, request);
    const node = this.#node;
    if (node !== null && node.problem === null && sameMembership(before, next)) {
      if (request.joinLink !== null) await this.#useLink(node, next, tell);
      return;
    }
    await this.#end(null);
    // On the disk before the controller hears of the key: one that is let in and then forgotten is a member for nothing.
    await this.#remember(next);
    try {
      await this.#begin();
    } catch (error) {
      this.#beginFailed(error);
      throw error;
    }
  }

  /**
   * A link for a machine that is a member and runs. While the controller is away it may turn out to have forgotten us: then the link
   * lets us in again, and the sessions that there are go on until that is known.
   */
  async #useLink(node: MeshNode, file: NodeFile, tell: (line: UpLine) => void): Promise<void> {
    if (!file.joined) return;
    if (node.control.status().state === 'connected') {
      tell({ type: 'progress', step: 'member', message: 'a member of this network already: the link is not needed' });
      return;
    }
    await this.#remember(file);
    if (this.#node === node) node.registerAnew(startOf(file));
  }

  async #begin(): Promise<void> {
    const file = this.#file;
    if (file === null || this.#closed) return;
    const { state, ifname, idleTimeoutMs, network, createPlane, createPortMapper, openControl, watchClock, log } =
      this.#options;
    const fixed = this.#options.port !== 0;
    const saved = file.joined ? this.#netmaps.read(file) : null;
    const node = new MeshNode({
      ifname,
      port: fixed ? this.#options.port : (state.readSettings()?.listenPort ?? 0),
      portMayChange: !fixed,
      controllerUrl: file.controller.url,
      controllerKey: file.controller.key,
      start: startOf(file),
      saved,
      recent: file.joined ? (state.readRecent()?.ids ?? []) : [],
      createPlane,
      ...(createPortMapper === undefined ? {} : { createPortMapper }),
      engine: {
        crypto: nodeProvider,
        random: (out) => {
          getRandomValues(out);
        },
        wallClock: () => Date.now() as WallTime,
        idleTimeoutMs,
        stamps: this.#stamps,
      },
      openControl,
      watchClock,
      network,
      log,
      privateKey: (which) => this.#secret(which),
      events: {
        changed: () => this.#changed(),
        joined: () => this.#joined(),
        netmapChanged: () => this.#netmaps.save(() => this.#toSave()),
        recentChanged: () => this.#rememberRecent(),
        lockedOut: () => this.#later(() => this.#netmaps.forget()),
        portChosen: (port) => {
          if (!fixed) this.#later(() => state.writeSettings({ format: 1, listenPort: port }));
        },
        // It was written before the client heard of it; it must not be called back from within its call.
        persistNextKey: (key) => setImmediate(() => this.#node?.control.nextKeyPersisted(key)),
        keySwitched: () => this.#keySwitched(),
        nextKeyRefused: () => this.#rememberLater((now) => ({ ...now, nextPrivateKey: null })),
      },
    });
    this.#node = node;
    this.#beginProblem = null;
    this.#changed();
    await node.start();
  }

  #beginFailed(error: unknown): void {
    this.#beginProblem = toProblem(error);
    if (!(error instanceof ProblemError)) this.#options.log.error('the node cannot begin', { why: String(error) });
    else this.#options.log.error(this.#beginProblem.message, { why: this.#beginProblem.why });
    this.#changed();
    this.#again = setTimeout(() => {
      this.#again = null;
      if (this.#node === null && !this.#closed) {
        this.#inTurn(() => this.#begin().catch((again: unknown) => this.#beginFailed(again)));
      }
    }, BEGIN_AGAIN_MS);
    this.#again.unref();
  }

  /** Tells what is going on until the node is up or a person is needed. The node goes on when nobody waits any more. */
  #untilUp({ timeoutMs, joinLink }: UpRequest, tell: (line: UpLine) => void, signal: AbortSignal): Promise<void> {
    const withLink = joinLink !== null;
    return new Promise((resolve) => {
      // Each once: a controller that is away is tried again and again.
      const told = new Set<string>();
      let limit: NodeJS.Timeout | null = null;
      const finish = (line: UpLine | null): void => {
        stop();
        if (limit !== null) clearTimeout(limit);
        signal.removeEventListener('abort', gone);
        if (line !== null) tell(line);
        resolve();
      };
      const gone = (): void => finish(null);
      const look = (): void => {
        const node = this.#node;
        const problem = this.#problem ?? (withLink ? keyMismatchOf(node) : null);
        if (node === null || problem !== null) {
          finish({ type: 'error', problem: problem ?? (this.#file === null ? notConfigured() : isDown()) });
        } else if (withLink ? isAdmitted(node) : isSettled(node)) {
          finish({ type: 'done', status: this.status({ kind: 'none' }) });
        } else if (!told.has(node.progress.message) && told.size < PROGRESS_MAX) {
          told.add(node.progress.message);
          tell({ type: 'progress', ...node.progress });
        }
      };
      const stop = this.onChange(look);
      signal.addEventListener('abort', gone, { once: true });
      limit = setTimeout(() => {
        const node = this.#node;
        const problem = node?.connectionProblem ?? timedOut(timeoutMs / 1000, node?.progress.message ?? 'it is not up');
        finish({ type: 'error', problem: withLink && node?.state === 'up' ? linkNotUsed(problem) : problem });
      }, timeoutMs);
      if (signal.aborted) gone();
      else look();
    });
  }

  // — down —

  async #end(goodbye: 'down' | 'logout' | null): Promise<void> {
    if (this.#again !== null) clearTimeout(this.#again);
    this.#again = null;
    this.#beginProblem = null;
    const node = this.#node;
    if (node === null) return;
    const latest = this.#toSave();
    const { recent } = node;
    this.#node = null;
    await node.stop(goodbye);
    if (this.#recentTimer !== null) clearTimeout(this.#recentTimer);
    this.#recentTimer = null;
    this.#recentWaits = false;
    if (latest === null || goodbye === 'logout') return this.#changed();
    this.#netmaps.save(() => latest);
    await this.#netmaps.flush();
    await this.#writeRecent(recent);
    this.#changed();
  }

  /** A node that is down, or has no connection, looks for the controller for a moment: the others should hear of it. */
  async #lookForController(): Promise<void> {
    try {
      if (this.#node === null) await this.#begin();
    } catch {
      // Without an interface it leaves silently.
      return;
    }
    const connected = (): boolean => {
      const status = this.#node?.control.status();
      return (
        status === undefined || status.state === 'connected' || status.step === 'failed' || status.step === 'backoff'
      );
    };
    await this.#untilOrLimit(connected, LOGOUT_LIMIT_MS);
  }

  #untilOrLimit(condition: () => boolean, limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const limit = setTimeout(() => finish(), limitMs);
      const stop = this.onChange(() => {
        if (condition()) finish();
      });
      const finish = (): void => {
        clearTimeout(limit);
        stop();
        resolve();
      };
      if (condition()) finish();
    });
  }

  // — what is remembered —

  #joined(): void {
    const file = this.#file;
    if (file === null || (file.joined && file.authKey === null)) return;
    this.#rememberLater((now) => ({ ...now, joined: true, authKey: null }));
  }

  #keySwitched(): void {
    this.#rememberLater((now) => {
      if (now.nextPrivateKey === null) return now;
      return { ...now, privateKey: now.nextPrivateKey, nextPrivateKey: null };
    });
    // What is on the disk is sealed under the old one.
    this.#netmaps.save(() => this.#toSave());
    this.#changed();
  }

  #toSave(): { readonly file: NodeFile; readonly netmap: SavedNetmap } | null {
    const file = this.#file;
    const netmap = this.#node?.lockedOut === false ? this.#node.mesh.netmap.save() : null;
    return file === null || netmap === null ? null : { file, netmap };
  }

  /** So that a crash too is noticed by those with whom we had a session. The first is written at once, and then one now and then. */
  #rememberRecent(): void {
    if (this.#recentTimer !== null) {
      this.#recentWaits = true;
      return;
    }
    if (this.#node !== null) this.#later(() => this.#writeRecent(this.#node?.recent ?? []));
    this.#recentTimer = setTimeout(() => {
      this.#recentTimer = null;
      if (!this.#recentWaits) return;
      this.#recentWaits = false;
      this.#rememberRecent();
    }, RECENT_AFTER_MS).unref();
  }

  /** A help, not a need: a disk that is full must not keep a machine from leaving. */
  async #writeRecent(ids: readonly NodeId[]): Promise<void> {
    try {
      await this.#options.state.writeRecent({ format: 1, ids: ids.slice(0, RECENT_MAX) });
    } catch (error) {
      this.#options.log.error('cannot remember who was connected', { why: toProblem(error).why });
    }
  }

  async #remember(file: NodeFile): Promise<void> {
    this.#file = file;
    await this.#options.state.writeNode(file);
    this.#changed();
  }

  /** From within a call of the node: in memory at once, on the disk soon. */
  #rememberLater(change: (file: NodeFile) => NodeFile): void {
    if (this.#file === null) return;
    const file = change(this.#file);
    this.#file = file;
    this.#later(() => this.#options.state.writeNode(file));
  }

  #later(work: () => Promise<unknown>): void {
    work().catch((error: unknown) => {
      const { message, why } = toProblem(error);
      this.#options.log.error(message, { why });
    });
  }

  #secret(which: 'current' | 'next'): Uint8Array {
    const file = this.#file;
    const text = which === 'next' ? file?.nextPrivateKey : file?.privateKey;
    if (text === undefined || text === null) throw new Error(`there is no ${which} key`);
    return keyBytes(text);
  }

  /** One at a time, in the order in which they were asked for. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#doing.then(work, work);
    this.#doing = done.catch(() => undefined);
    return done;
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Up, and the controller has said so. */
function isAdmitted(node: MeshNode): boolean {
  return node.state === 'up' && node.control.status().state === 'connected';
}

/** Whoever waits for the controller waits in vain for one that is another. */
function keyMismatchOf(node: MeshNode | null): Problem | null {
  const problem = node?.connectionProblem ?? null;
  return problem?.code === 'controllerKeyMismatch' ? problem : null;
}

/** Up, and with the controller as far as it will get for now. */
function isSettled(node: MeshNode): boolean {
  if (node.state !== 'up') return false;
  const { state, step } = node.control.status();
  return state === 'connected' || step === 'backoff';
}

function isDown(): Problem {
  return {
    code: 'notConfigured',
    message: 'this machine is disconnected',
    why: 'it was told to stay out of its network',
    help: 'connect: warren up',
  };
}
