// A controller put together: store, core, server, administration, metrics. `Controller.start` resolves when nodes can join, `stop`
// when all is stored and closed. Files, sockets and the clock are here; what it does is decided in state/.

import { createHash, getRandomValues, randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Instant, WallTime } from '../base/instant.ts';
import { nodeProvider } from '../crypto/node.ts';
import type { DhKey } from '../crypto/provider.ts';
import { formatJoinLink } from '../protocol/join-link.ts';
import { ADMIN_SOCKET_NAME } from '../protocol/paths.ts';
import { type CertificateFiles, type ListenAddress, listenError, readCertificate } from '../service/listen.ts';
import type { Log } from '../service/log.ts';
import { type MetricsListener, type MetricsText, openMetricsListener } from '../service/metrics-listener.ts';
import { errorCode, errorMessage, StartError } from '../service/start-error.ts';
import { type AdminSocket, openAdminSocket } from './admin/admin-socket.ts';
import type { AdminDeps } from './admin/deps.ts';
import { createAdminHandler } from './admin/handler.ts';
import { createMetrics, type Metrics } from './admin/metrics.ts';
import type { Companion, StartCompanion } from './companion.ts';
import { publicUrl } from './listener.ts';
import {
  firstSettings,
  type NetworkRange,
  PREFIX4_DEFAULT,
  parseNetwork,
  randomUla,
  refuseCollision,
} from './network-range.ts';
import { localNetworks } from './own-addresses.ts';
import { ControlServer } from './server/control-server.ts';
import { CoreHost } from './server/core-host.ts';
import { newServerCounters, type ServerCounters } from './server/counters.ts';
import { SERVER_LIMITS } from './server/limits.ts';
import { SharedEncodings } from './server/message-codec.ts';
import { ControllerCore } from './state/core.ts';
import type { Settings, StoredState } from './state/model.ts';
import { openStore } from './store/open.ts';
import type { Store } from './store/store.ts';
import { StoreError, type StoreErrorCode } from './store/store-error.ts';
import { StunServer, type StunSettings } from './stun/stun-server.ts';

export interface ControllerSettings {
  readonly dataDirectory: string;
  /** postgres://…, or null for SQLite in the data directory. */
  readonly database: string | null;
  readonly listen: ListenAddress;
  /** Whether the address was given: one that was not may give way to what the machine can do. */
  readonly listenGiven: boolean;
  /** Canonical; null = guess. */
  readonly url: string | null;
  readonly certificate: CertificateFiles | null;
  /** As `--network` says it; null = what there is, or the default. */
  readonly network: string | null;
  readonly metricsListen: ListenAddress | null;
  /** Null or absent: STUN is not answered. */
  readonly stun?: StunSettings | null;
  /** Null: leave it as it is. */
  readonly requireApproval: boolean | null;
  readonly version: string;
}

export interface ControllerStarted {
  readonly url: string;
  readonly listening: ListenAddress;
  readonly metrics: ListenAddress | null;
  /** UDP ports at which STUN is answered. */
  readonly stunPorts: readonly number[];
  readonly publicKey: string;
  readonly range: NetworkRange;
  /** Of a network in which there is nobody and no key yet. */
  readonly joinLink: string | null;
}

const FIRST_KEY_SECONDS = 86_400;
/** Of a companion, which uses it at once. */
const COMPANION_KEY_SECONDS = 600;
const ACTOR = { name: 'controller', source: 'local' } as const;
const KEY_BYTES = 32;
/** After these, what we have in memory may not be what is stored: only a new start can tell. */
const FATAL_STORE_ERRORS: readonly StoreErrorCode[] = ['superseded', 'unknownOutcome', 'broken', 'corrupt', 'closed'];

const now = (): Instant => performance.now() as Instant;
const wallNow = (): WallTime => Date.now() as WallTime;
const random = (out: Uint8Array): void => {
  getRandomValues(out);
};

export class Controller {
  /** Resolves when the controller cannot go on: what happened. */
  readonly failed: Promise<Error>;
  readonly #settings: ControllerSettings;
  readonly #log: Log;
  readonly #counters: ServerCounters = newServerCounters();
  #tellFailed: (error: Error) => void = () => undefined;
  #store: Store | null = null;
  #staticKey: DhKey | null = null;
  #metrics: Metrics | null = null;
  #host: CoreHost | null = null;
  #server: ControlServer | null = null;
  #adminSocket: AdminSocket | null = null;
  #metricsListener: MetricsListener | null = null;
  #stun: StunServer | null = null;
  #started: ControllerStarted | null = null;
  #joinKey = '';
  #companion: Companion | null = null;

  /** Rejects with an error that has `what`, `why` and `help` for a person, or with a bug; nothing is left open then. */
  static async start(settings: ControllerSettings, log: Log): Promise<Controller> {
    const controller = new Controller(settings, log);
    try {
      await controller.#start();
    } catch (error) {
      await controller.stop();
      throw error;
    }
    return controller;
  }

  private constructor(settings: ControllerSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
    this.failed = new Promise((resolve) => {
      this.#tellFailed = resolve;
    });
  }

  get started(): ControllerStarted {
    if (this.#started === null) throw new Error('it has not started');
    return this.#started;
  }

  /** Reads the certificate's files again. Throws StartError, and goes on with what it has. */
  reloadCertificate(): void {
    const { certificate } = this.#settings;
    if (certificate !== null) this.#server?.setCertificate(readCertificate(certificate, wallNow()));
  }

  /** Starts what runs beside it in this process; what it needs of us is told to it. After `start`. */
  async accompany(start: StartCompanion): Promise<void> {
    const { url } = this.started;
    const loopback = { url: this.#loopbackUrl(), key: this.#joinKey };
    const joinLink = (tags: readonly string[]): Promise<string> => this.#companionLink(loopback.url, tags);
    this.#companion = await start({ url, loopback, joinLink, log: this.#log });
  }

  /** Tells every node, stores what waits, closes. */
  async stop(): Promise<void> {
    await this.#companion?.stop();
    // The core first: what it says goes out before the server closes the connections.
    await this.#host?.stop();
    await Promise.all([
      this.#server?.close('stopping'),
      this.#adminSocket?.close(),
      this.#metricsListener?.close(),
      this.#stun?.close(),
    ]);
    await this.#store?.close().catch((error: unknown) => {
      this.#log.error('the database was not closed cleanly', { why: errorMessage(error) });
    });
    this.#staticKey?.wipe();
  }

  async #start(): Promise<void> {
    const { dataDirectory, database, certificate, metricsListen, stun = null } = this.#settings;
    const tls = certificate === null ? null : readCertificate(certificate, wallNow());
    makeDirectory(dataDirectory);
    const store = await openStore(database ?? dataDirectory);
    this.#store = store;
    const stored = await this.#loadOrBegin(store);
    const { prefix4, prefix6 } = stored.settings;
    const staticKey = await importKey(store);
    this.#staticKey = staticKey;
    const joinKey = Buffer.from(staticKey.publicKey).toString('base64url');
    this.#joinKey = joinKey;

    // Before the core: every welcome says where it is.
    this.#stun = stun === null ? null : await StunServer.open(stun, now);
    const core = this.#makeCore(stored);
    const metrics = createMetrics({
      core,
      server: () => this.#serverNumbers(),
      stun: () => this.#stun?.counters() ?? {},
      wallNow,
    });
    this.#metrics = metrics;
    const host = this.#makeHost(core, store);
    this.#host = host;
    let url: string | null = null;
    const handler = createAdminHandler(this.#adminDeps(core, host, store, joinKey, () => url ?? ''));
    const server = new ControlServer({
      crypto: nodeProvider,
      random,
      staticKey,
      certificate: tls,
      limits: SERVER_LIMITS,
      counters: this.#counters,
      events: host,
      onRequest: (request, response) => handler(request, response, 'tcp'),
      doors: () => this.#companion?.doors ?? [],
      now,
    });
    this.#server = server;
    // Before the first machine can come.
    await this.#applyApproval(core, host);
    const listening = await this.#listen(server);
    url = publicUrl(this.#settings.url, listening, tls !== null, [prefix4, prefix6]);
    if (metricsListen !== null) {
      this.#metricsListener = await openMetricsListener(metricsListen, this.#allMetrics(metrics)).catch(
        (error: unknown) => {
          throw listenError(error, metricsListen, '--metrics-listen');
        },
      );
    }
    this.#adminSocket = await openAdminSocket(join(dataDirectory, ADMIN_SOCKET_NAME), handler);
    // Last: what was printed once is not printed again.
    const joinLink = await this.#firstJoinLink(core, host, url, joinKey);
    this.#started = {
      url,
      listening,
      metrics: this.#metricsListener,
      stunPorts: this.#stun?.ports ?? [],
      publicKey: Buffer.from(staticKey.publicKey).toString('base64'),
      range: { prefix4, prefix6 },
      joinLink,
    };
    // No reason to fail: machines meet without it, over what else they know of their addresses and over relays.
    const problem = this.#stun?.problem ?? null;
    if (problem !== null) this.#log.error(problem.what, { why: problem.why, do: problem.help });
  }

  // — state —

  async #loadOrBegin(store: Store): Promise<StoredState> {
    const wanted = this.#settings.network === null ? {} : parseNetwork(this.#settings.network);
    const stored = await store.load();
    if (stored !== null) {
      refuseOtherNetwork(stored.settings, wanted);
      return stored;
    }
    const range = { prefix4: wanted.prefix4 ?? PREFIX4_DEFAULT, prefix6: wanted.prefix6 ?? randomUla(random) };
    refuseCollision(range, localNetworks());
    const settings = firstSettings(range, this.#settings.requireApproval === true, random);
    const privateKey = randomBytes(KEY_BYTES);
    await store.initialize(settings, privateKey);
    privateKey.fill(0);
    const begun = await store.load();
    if (begun === null) throw new Error('what was stored is not there');
    return begun;
  }

  #makeCore(stored: StoredState): ControllerCore {
    return new ControllerCore(
      stored,
      {
        random,
        sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),
        software: `warren ${this.#settings.version}`.slice(0, 64),
        stunPorts: this.#stun?.ports ?? [],
        limits: { pingIntervalMs: SERVER_LIMITS.pingIntervalMs, connectionsMax: SERVER_LIMITS.connectionsMax },
      },
      { now: now(), wall: wallNow() },
    );
  }

  #makeHost(core: ControllerCore, store: Store): CoreHost {
    return new CoreHost({
      core,
      store: {
        commit: async (changes) => {
          const begun = performance.now();
          await store.commit(changes);
          this.#metrics?.observeCommit((performance.now() - begun) / 1000);
        },
      },
      encodings: new SharedEncodings(this.#counters),
      outputsPerTurn: SERVER_LIMITS.outputsPerTurn,
      now,
      wallNow,
      log: this.#log,
      onStoreError: (error) => {
        if (error instanceof StoreError && FATAL_STORE_ERRORS.includes(error.code)) this.#tellFailed(error);
      },
    });
  }

  async #applyApproval(core: ControllerCore, host: CoreHost): Promise<void> {
    const { requireApproval } = this.#settings;
    if (requireApproval === null || requireApproval === core.state.settings.requireApproval) return;
    await host.administer({ action: 'settings.change', edit: { requireApproval } }, ACTOR);
  }

  /** Also after a first start that ended between making the network and making the key. */
  async #firstJoinLink(
    core: ControllerCore,
    host: CoreHost,
    url: string,
    controllerKey: string,
  ): Promise<string | null> {
    if (core.state.authKeyCount > 0 || core.state.nodeCount > 0) return null;
    const input = {
      description: 'made at the first start',
      reusable: true,
      ephemeral: false,
      preApproved: false,
      tags: [],
      expiresInSeconds: FIRST_KEY_SECONDS,
    };
    const answer = await host.administer({ action: 'keys.create', input }, ACTOR);
    if (!answer.ok) {
      const { message, why, help } = answer.refusal;
      throw new StartError({ what: 'cannot make the first join link', why: why ?? message, help });
    }
    if (answer.result.kind !== 'authKeyCreated') throw new Error('another answer than was asked for');
    return formatJoinLink({ url, controllerKey, authKey: answer.result.secret });
  }

  #loopbackUrl(): string {
    const { host, port } = this.started.listening;
    const all = host === '::' || host === '0.0.0.0';
    const address = all ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
    return `${this.#settings.certificate === null ? 'http' : 'https'}://${address}:${port}`;
  }

  async #companionLink(url: string, tags: readonly string[]): Promise<string> {
    const input = {
      description: `made by the controller for its ${tags.join(', ')}`,
      reusable: false,
      ephemeral: false,
      preApproved: true,
      tags: [...tags],
      expiresInSeconds: COMPANION_KEY_SECONDS,
    };
    const answer = await this.#host?.administer({ action: 'keys.create', input }, ACTOR);
    if (answer === undefined || !answer.ok || answer.result.kind !== 'authKeyCreated') {
      throw new Error(answer?.ok === false ? answer.refusal.message : 'the controller makes no keys now');
    }
    return formatJoinLink({ url, controllerKey: this.#joinKey, authKey: answer.result.secret });
  }

  #allMetrics(metrics: Metrics): MetricsText {
    return {
      contentType: metrics.contentType,
      text: async () => [await metrics.text(), (await this.#companion?.metrics()) ?? ''].join('\n'),
    };
  }

  // — doors —

  async #listen(server: ControlServer): Promise<ListenAddress> {
    const { listen, listenGiven } = this.#settings;
    try {
      return { host: listen.host, port: await server.listen(listen.host, listen.port) };
    } catch (error) {
      // A machine without IPv6.
      if (listenGiven || errorCode(error) !== 'EAFNOSUPPORT') throw listenError(error, listen, '--listen');
    }
    const listen4 = { host: '0.0.0.0', port: listen.port };
    try {
      return { host: listen4.host, port: await server.listen(listen4.host, listen4.port) };
    } catch (error) {
      throw listenError(error, listen4, '--listen');
    }
  }

  #adminDeps(core: ControllerCore, host: CoreHost, store: Store, joinKey: string, url: () => string): AdminDeps {
    return {
      state: () => core.state,
      administer: (command, actor) => host.administer(command, actor),
      checkToken: (secret) => {
        const check = core.checkToken(secret, { now: now(), wall: wallNow() });
        // Its use is written behind.
        host.wake();
        return check;
      },
      audit: (before, limit) => store.audit(before, limit),
      backup: (path, progress) => store.backup(path, progress),
      now,
      wallNow,
      random: (count) => new Uint8Array(randomBytes(count)),
      log: this.#log,
      onAnswer: (door, status) => this.#metrics?.observeAnswer(door, status),
      version: this.#settings.version,
      url,
      joinKey,
      healthy: () => host.healthy,
    };
  }

  #serverNumbers(): Record<string, number> {
    const { channelFailures, closed, ...plain } = this.#counters;
    const named = (prefix: string, numbers: Readonly<Record<string, number>>): [string, number][] =>
      Object.entries(numbers).map(([name, count]) => [`${prefix}_${name}`, count]);
    return { ...plain, ...Object.fromEntries([...named('channel', channelFailures), ...named('closed', closed)]) };
  }
}

async function importKey(store: Store): Promise<DhKey> {
  const privateKey = await store.privateKey();
  const key = nodeProvider.importPrivateKey(privateKey);
  privateKey.fill(0);
  return key;
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    const refused = ['EACCES', 'EPERM', 'EROFS'].includes(errorCode(error) ?? '');
    throw new StartError({
      what: `cannot make the data directory ${path}`,
      why: refused ? 'this user may not write there' : errorMessage(error),
      help: 'run it as root or as the owner of that directory, or name another with --data DIR',
    });
  }
}

function refuseOtherNetwork(settings: Settings, wanted: Partial<NetworkRange>): void {
  const { prefix4, prefix6 } = settings;
  if ((wanted.prefix4 ?? prefix4) === prefix4 && (wanted.prefix6 ?? prefix6) === prefix6) return;
  throw new StartError({
    what: 'cannot change the addresses of the network',
    why: `it was made with ${prefix4},${prefix6}, and machines have addresses in it`,
    help: 'leave --network out; for another network give another directory with --data DIR',
  });
}
