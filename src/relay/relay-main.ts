// The process behind `warren relay`: opens a plane and listeners around a RelayHost, tells the service manager, gives up every
// privilege, drains on a signal. Arguments and printing are the command line's. The relay inside a controller: inner-main.ts.

import type { EventEmitter } from 'node:events';
import { hostname } from 'node:os';
import { loadAddon } from '../dataplane/native/addon.ts';
import { errnoName } from '../dataplane/native/explain.ts';
import {
  type CertificateFiles,
  type ListenAddress,
  listenError,
  parseListen,
  readCertificate,
  showListen,
} from '../service/listen.ts';
import { createLog, type Log, parseLogLevel } from '../service/log.ts';
import { openMetricsListener } from '../service/metrics-listener.ts';
import { ServiceNotifier } from '../service/notify.ts';
import { errorMessage, type StartFailure, startFailureOf } from '../service/start-error.ts';
import { LIMITS_DEFAULT } from './engine/relay-engine.ts';
import { type PublicAddress, parsePublicAddress } from './relay-addresses.ts';
import { RelayHost } from './relay-host.ts';
import { createRelayMetrics, relayReport } from './relay-metrics.ts';
import { createRelayPlane } from './relay-plane.ts';
import { openStreamListener, type StreamListener } from './stream/stream-listener.ts';
import { StreamServer } from './stream/stream-server.ts';

/** As the command line has them; null for what was not given. */
export interface RelayArguments {
  readonly stateDirectory: string;
  readonly port: number;
  readonly joinLink: string | null;
  readonly publicAddresses: readonly PublicAddress[];
  /** Of one member; 0 = no limit. */
  readonly bytesPerSecond: number | null;
  readonly bytesPerDay: number | null;
  readonly membersMax: number | null;
  /** For datagrams over WebSocket. */
  readonly listen: ListenAddress | null;
  readonly certificate: CertificateFiles | null;
  /** Where nodes reach that; null = a guess. */
  readonly url: string | null;
  readonly metricsListen: ListenAddress | null;
  readonly drainMs: number;
  readonly version: string;
}

export interface RelayReady {
  /** Of UDP. */
  readonly port: number;
  /** What nodes are told. */
  readonly url: string | null;
  readonly listening: string | null;
  readonly metrics: string | null;
  /** For a person: whether the controller is there. */
  readonly controller: string;
}

export type RelayOutcome =
  | { readonly kind: 'ended'; readonly signal: string }
  | { readonly kind: 'failed'; readonly failure: StartFailure };

const HOSTNAME_SUFFIX = '-relay';
const HOSTNAME_LENGTH_MAX = 253;

/** For the command line, which says what is wrong with its option. */
export function readListen(text: string): ListenAddress | null {
  return parseListen(text);
}

export function readPublicAddress(text: string): PublicAddress | null {
  return parsePublicAddress(text);
}

/** Runs until a signal. `onReady` is called once members are served, or will be when the controller is back. */
export async function runRelay(
  given: RelayArguments,
  env: NodeJS.ProcessEnv,
  onReady: (ready: RelayReady) => void,
  signals: EventEmitter = process,
): Promise<RelayOutcome> {
  const log = createLog(parseLogLevel(env['LOG_LEVEL']));
  const notifier = new ServiceNotifier({ env });
  const closing: (() => void | Promise<void>)[] = [];
  try {
    const ended = untilSignal(signals);
    const { host, ready } = await start(given, log, signals, closing);
    onReady(ready);
    notifier.ready(ready.controller);
    const signal = await ended;
    notifier.stopping();
    await Promise.race([host.drain(given.drainMs), untilSignal(signals)]);
    return { kind: 'ended', signal };
  } catch (error) {
    const failure = startFailureOf(error);
    if (failure === null) throw error;
    return { kind: 'failed', failure };
  } finally {
    for (const close of closing.reverse()) await close();
    notifier.close();
  }
}

/** From the first moment on, so that a start that is interrupted cleans up. */
function untilSignal(signals: EventEmitter): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) signals.once(signal, () => resolve(signal));
  });
}

async function start(
  given: RelayArguments,
  log: Log,
  signals: EventEmitter,
  closing: (() => void | Promise<void>)[],
): Promise<{ host: RelayHost; ready: RelayReady }> {
  const certificate = given.certificate === null ? null : readCertificate(given.certificate, Date.now());
  const scheme = certificate === null ? 'http' : 'https';
  const url = given.url ?? guessedUrl(given, scheme);
  const host = await RelayHost.start({
    settings: {
      stateDirectory: given.stateDirectory,
      port: given.port,
      joinLink: given.joinLink,
      controller: null,
      publicAddresses: given.publicAddresses,
      tellInterfaces: given.publicAddresses.length === 0,
      url,
      hostname: `${hostname().slice(0, HOSTNAME_LENGTH_MAX - HOSTNAME_SUFFIX.length)}${HOSTNAME_SUFFIX}`,
      limits: {
        bytesPerSecond: orUnlimited(given.bytesPerSecond, LIMITS_DEFAULT.bytesPerSecond),
        bytesPerDay: orUnlimited(given.bytesPerDay, LIMITS_DEFAULT.bytesPerDay),
        slotsMax: given.membersMax ?? LIMITS_DEFAULT.slotsMax,
      },
      version: given.version,
    },
    createPlane: createRelayPlane,
    log,
  });
  closing.push(() => host.close());
  const streams = given.listen === null ? null : new StreamServer(host.port);
  const listener = await listen(given, certificate, streams, signals, log);
  if (streams !== null) closing.push(() => streams.close());
  if (listener !== null) {
    closing.push(() => listener.close());
    closing.push(() => streams?.close());
  }
  const metrics = createRelayMetrics(host, streams, true);
  const metricsListener =
    given.metricsListen === null
      ? null
      : await openMetricsListener(given.metricsListen, metrics).catch((error: unknown) => {
          throw listenError(error, given.metricsListen as ListenAddress, '--metrics');
        });
  if (metricsListener !== null) closing.push(() => metricsListener.close());
  const report = (): void => {
    process.stderr.write(`${JSON.stringify(relayReport(host, streams))}\n`);
  };
  signals.on('SIGUSR1', report);
  closing.push(() => {
    signals.off('SIGUSR1', report);
  });
  giveUpPrivileges(log);
  const ready: RelayReady = {
    port: host.port,
    url,
    listening: listener === null ? null : showListen(listener.listening),
    metrics: metricsListener === null ? null : showListen(metricsListener),
    controller: host.controlStatus?.message ?? '',
  };
  return { host, ready };
}

async function listen(
  given: RelayArguments,
  certificate: ReturnType<typeof readCertificate> | null,
  streams: StreamServer | null,
  signals: EventEmitter,
  log: Log,
): Promise<StreamListener | null> {
  if (given.listen === null || streams === null) return null;
  const address = given.listen;
  const listener = await openStreamListener(address, certificate, streams).catch((error: unknown) => {
    throw listenError(error, address, '--listen');
  });
  signals.on('SIGHUP', () => {
    if (given.certificate === null) return;
    try {
      listener.setCertificate(readCertificate(given.certificate, Date.now()));
    } catch (error) {
      log.error('the certificate was not read again', { why: errorMessage(error) });
    }
  });
  return listener;
}

/** Of the first address that nodes are told: it is where the listener is too, most likely. */
function guessedUrl({ listen: address, publicAddresses }: RelayArguments, scheme: string): string | null {
  const [first] = publicAddresses;
  if (address === null || address.port === 0) return null;
  const all = address.host === '::' || address.host === '0.0.0.0';
  const host = all ? first?.address : address.host;
  if (host === undefined) return null;
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${address.port}`;
}

function orUnlimited(given: number | null, otherwise: number): number {
  return given === 0 ? Number.POSITIVE_INFINITY : (given ?? otherwise);
}

/** All sockets are open: nothing is asked of the system any more that needs one. */
function giveUpPrivileges(log: Log): void {
  const loaded = loadAddon();
  if (!loaded.ok) return;
  for (const failure of [loaded.addon.disableCoreDumps(), loaded.addon.dropAllPrivileges()]) {
    if (failure !== null) {
      log.error('cannot give up privileges', { why: `${failure.step}: ${errnoName(failure.code)}` });
    }
  }
}
