// Entry of `warren wg` and `warren-wg`: one WireGuard interface as this process, or as a process in the background. Reads what
// other userspace WireGuards read from the environment (WG_TUN_FD, WG_UAPI_FD, LOG_LEVEL), tells a service manager how it
// is, and turns failures into advice. Arguments and printing are the command line's.

import { setFlagsFromString } from 'node:v8';
import { createNativePlane, type LiveNativePlane } from '../dataplane/native/native-plane.ts';
import { ServiceNotifier } from '../service/notify.ts';
import { StartError, type StartFailure } from '../service/start-error.ts';
import { reportStart, type StartReport, startInBackground } from './background.ts';
import { createLog, type Log, parseLogLevel } from './log.ts';
import { type EndReason, WgHost } from './wg-host.ts';

/** The plane's tables grow as peers come; this bounds them. */
const PEERS_MAX = 1_048_576;

export interface WgSettings {
  readonly ifname: string;
  /** Null: 1420 for an interface that we make. */
  readonly mtu: number | null;
  readonly queues: number;
  /** Infinity = never. */
  readonly idleTimeoutMs: number;
}

export type WgOutcome =
  | { readonly kind: 'ended'; readonly reason: EndReason }
  | { readonly kind: 'failed'; readonly failure: StartFailure };

export interface WgReady {
  readonly pid: number;
  readonly interface: string;
  readonly socket: string;
}

/** Runs until something ends it. `onReady` is called once the interface and the control socket are there. */
export async function runInForeground(
  settings: WgSettings,
  env: NodeJS.ProcessEnv,
  onReady: (ready: WgReady) => void,
): Promise<WgOutcome> {
  keepYoungHeapSmall();
  const notifier = new ServiceNotifier({ env });
  try {
    const host = await start(settings, env);
    const ready = { pid: process.pid, interface: host.ifname, socket: host.socketPath ?? '' };
    reportStart(env, { ready: true, ...ready });
    notifier.ready();
    onReady(ready);
    const reason = await host.ended;
    notifier.stopping();
    return { kind: 'ended', reason };
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    const { what, why, help } = error;
    reportStart(env, { ready: false, failure: { what, why, help } });
    return { kind: 'failed', failure: { what, why, help } };
  } finally {
    notifier.close();
  }
}

/**
 * A large configuration makes V8 grow the space for young objects to 48 MB, and it never gives that back. Measured with 10,000
 * peers configured six times: 119 to 128 MB resident without this, 84 to 97 MB with it, for 5 % more CPU time.
 */
function keepYoungHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** Runs the program of this process again in the background with `args`; resolves when it is ready or has failed. */
export function runInBackground(args: readonly string[], env: NodeJS.ProcessEnv): Promise<StartReport> {
  const level = env['LOG_LEVEL'];
  const script = process.argv[1] ?? '';
  return startInBackground({
    file: process.execPath,
    args: [...process.execArgv, script, ...args],
    env,
    logs: level !== undefined && level !== '' && level !== 'silent',
  });
}

async function start(settings: WgSettings, env: NodeJS.ProcessEnv): Promise<WgHost> {
  const tunFd = descriptorFrom(env, 'WG_TUN_FD');
  const uapiFd = descriptorFrom(env, 'WG_UAPI_FD');
  const log = createLog(parseLogLevel(env['LOG_LEVEL']));
  let plane: LiveNativePlane | null = null;
  const host = await WgHost.start({
    createPlane: (onWake) => {
      plane = openPlane(settings, tunFd, onWake);
      // Without it keys are locked up to the limit there is, which is enough for all but very many peers.
      const unlimited = plane.raiseMemlockLimit();
      if (unlimited !== null) log.debug('cannot lift the limit of locked memory', { why: unlimited });
      told(log, 'cannot forbid core dumps', plane.disableCoreDumps());
      return { plane, ifname: plane.status().ifname };
    },
    peersMax: PEERS_MAX,
    log,
    idleTimeoutMs: settings.idleTimeoutMs,
    signals: process,
    ...(uapiFd === null ? {} : { uapiFd }),
  });
  // Interface and socket are made: from here on CAP_NET_ADMIN and CAP_NET_BIND_SERVICE are enough.
  told(log, 'cannot give up privileges', (plane as LiveNativePlane | null)?.dropPrivileges() ?? null);
  return host;
}

function openPlane(settings: WgSettings, tunFd: number | null, onWake: () => void): LiveNativePlane {
  const { ifname, mtu, queues } = settings;
  const opened = createNativePlane({
    ifname,
    queues,
    peersMax: PEERS_MAX,
    onWake,
    ...(mtu === null ? {} : { mtu }),
    ...(tunFd === null ? {} : { tunFd }),
  });
  if (opened.ok) return opened.plane;
  throw new StartError({ what: `cannot make the interface ${ifname}`, why: opened.message, help: null });
}

function told(log: Log, what: string, failure: string | null): void {
  if (failure !== null) log.error(what, { why: failure });
}

function descriptorFrom(env: NodeJS.ProcessEnv, name: string): number | null {
  const value = env[name];
  if (value === undefined || value === '') return null;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  throw new StartError({
    what: `cannot use ${name}=${value}`,
    why: 'it is not the number of a file descriptor',
    help: `unset ${name}, or set it to the number of a descriptor that is passed to this process`,
  });
}
