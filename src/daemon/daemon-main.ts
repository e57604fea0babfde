// Entry of `warren daemon`: this machine as a node of a mesh. Locks its state directory, opens the local API, tells systemd that it
// is ready, and waits; without a network nothing else happens. Looks early for what it will need, so that a start which
// cannot work says so then. Arguments and printing are the command line's.

import { getRandomValues } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { type AddonResult, loadAddon, type NativeAddon } from '../dataplane/native/addon.ts';
import { errnoName } from '../dataplane/native/explain.ts';
import { createNativePlane } from '../dataplane/native/native-plane.ts';
import { MeshControl } from '../link/mesh-control.ts';
import { ServiceNotifier } from '../service/notify.ts';
import { StartError, type StartFailure } from '../service/start-error.ts';
import { createLog, type Log, parseLogLevel } from './log.ts';
import { LocalApiServer } from './mesh/local-api-server.ts';
import { MeshHost } from './mesh/mesh-host.ts';
import { netmapSealing } from './mesh/netmap-sealing.ts';
import { probePort } from './mesh/probe-port.ts';
import { ProblemError } from './mesh/problem-error.ts';
import { tunUnavailable } from './mesh/problems.ts';
import { StateDirectory } from './mesh/state-directory.ts';
import type { CreatePlane } from './mesh/tunnel.ts';
import { ClockWatch } from './os/clock-watch.ts';
import { RtnetlinkHostNetwork } from './os/host-network.ts';
import { HostPortMapper } from './portmap/host-port-mapper.ts';
import type { CreatePortMapper } from './portmap/port-mapper.ts';

/** The plane's tables grow as peers come; this bounds them. */
const PEERS_MAX = 1_048_576;
const CAP_NET_ADMIN = 12n;
const TUN_DEVICE = '/dev/net/tun';

export interface DaemonSettings {
  readonly version: string;
  readonly stateDirectory: string;
  readonly socketPath: string;
  readonly ifname: string;
  /** 0 = a random one that is kept. */
  readonly port: number;
  /** Gateways are asked to lead a port of theirs here. */
  readonly mapPorts: boolean;
  /** Infinity = never. */
  readonly idleTimeoutMs: number;
}

export interface DaemonReady {
  readonly pid: number;
  readonly socket: string;
  readonly state: string;
}

export type DaemonOutcome =
  | { readonly kind: 'ended'; readonly signal: string }
  | { readonly kind: 'failed'; readonly failure: StartFailure };

/** Runs until a signal ends it. `onReady` is called once the local API answers. */
export async function runDaemon(
  settings: DaemonSettings,
  env: NodeJS.ProcessEnv,
  onReady: (ready: DaemonReady) => void,
): Promise<DaemonOutcome> {
  keepYoungHeapSmall();
  const ended = untilSignal();
  const notifier = new ServiceNotifier({ env });
  const closing: (() => void | Promise<void>)[] = [];
  try {
    const ready = await start(settings, env, closing);
    notifier.ready();
    onReady(ready);
    const signal = await ended;
    notifier.stopping();
    return { kind: 'ended', signal };
  } catch (error) {
    if (error instanceof StartError) {
      const { what, why, help } = error;
      return { kind: 'failed', failure: { what, why, help } };
    }
    if (error instanceof ProblemError) {
      const { message, why, help } = error.problem;
      return { kind: 'failed', failure: { what: message, why: why ?? '', help } };
    }
    throw error;
  } finally {
    for (const close of closing.reverse()) await close();
    notifier.close();
  }
}

/** See wg-main.ts: V8 never gives back what a large netmap made it grow. */
function keepYoungHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** SIGHUP too: the terminal is gone. From the first moment on, so that a start that is interrupted cleans up. */
function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve(signal));
  });
}

async function start(
  settings: DaemonSettings,
  env: NodeJS.ProcessEnv,
  closing: (() => void | Promise<void>)[],
): Promise<DaemonReady> {
  const { stateDirectory, socketPath, ifname, port, idleTimeoutMs, version } = settings;
  const log = createLog(parseLogLevel(env['LOG_LEVEL']));
  const addon = addonOf(loadAddon(), ifname);
  told(log, 'cannot forbid core dumps', outcome(addon.disableCoreDumps()));
  const unlimited = outcome(addon.raiseMemlockLimit());
  if (unlimited !== null) log.debug('cannot lift the limit of locked memory', { why: unlimited });
  lookAhead(ifname);
  if (port !== 0) await probePort(port);

  const state = await StateDirectory.open(stateDirectory);
  closing.push(() => state.close());
  const network = await openNetwork(addon);
  closing.push(() => network.close());
  const host = new MeshHost({
    version,
    ifname,
    port,
    idleTimeoutMs,
    state,
    network,
    createPlane,
    ...(settings.mapPorts ? { createPortMapper: portMappers(network, log) } : {}),
    openControl: (control) => new MeshControl(control, `warren ${version}`),
    watchClock: (onJump) => watchClock(addon, onJump, log),
    sealing: netmapSealing,
    log,
  });
  closing.push(() => host.close());
  const api = await LocalApiServer.open(socketPath, host, log);
  const closeNow = (): void => api.closeNow();
  process.once('exit', closeNow);
  closing.push(() => {
    process.off('exit', closeNow);
    closeNow();
  });
  // The socket has its group: from here on CAP_NET_ADMIN and CAP_NET_BIND_SERVICE are enough.
  told(log, 'cannot give up privileges', outcome(addon.dropPrivileges()));
  await host.resume();
  log.debug('started', { socket: socketPath, state: stateDirectory });
  return { pid: process.pid, socket: socketPath, state: stateDirectory };
}

function addonOf(loading: AddonResult, ifname: string): NativeAddon {
  if (loading.ok) return loading.addon;
  throw new StartError({ what: `cannot make the interface ${ifname}`, why: loading.message, help: null });
}

/** What `warren up` would fail for is told now: a service that starts and can do nothing helps nobody. */
function lookAhead(ifname: string): void {
  const what = `cannot make the interface ${ifname}`;
  if (!hasCapability(CAP_NET_ADMIN)) {
    throw new StartError({
      what,
      why: 'it needs CAP_NET_ADMIN, which this process does not have',
      help: 'run it as root, or as the systemd unit that comes with it',
    });
  }
  try {
    accessSync(TUN_DEVICE, constants.F_OK);
  } catch {
    throw new StartError({
      what,
      why: `there is no ${TUN_DEVICE} here`,
      help: 'load the module: modprobe tun; in a container, pass the device: --device /dev/net/tun',
    });
  }
}

function hasCapability(capability: bigint): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> capability) & 1n) === 1n;
}

async function openNetwork(addon: NativeAddon): Promise<RtnetlinkHostNetwork> {
  const opened = await RtnetlinkHostNetwork.open(addon);
  if (opened.ok) return opened.network;
  const { errno, step } = opened.failure;
  throw new StartError({ what: "cannot see this machine's network", why: `${step}: ${errno}`, help: null });
}

const createPlane: CreatePlane = (ifname, onWake) => {
  const opened = createNativePlane({ ifname, peersMax: PEERS_MAX, onWake });
  if (opened.ok) return { plane: opened.plane, ifname: opened.plane.status().ifname };
  const permission = opened.errno === 'EPERM' || opened.errno === 'EACCES';
  throw new ProblemError(tunUnavailable(opened.message, permission ? 'permission' : 'tunUnavailable'));
};

function portMappers(network: RtnetlinkHostNetwork, log: Log): CreatePortMapper {
  return ({ ifname, now }) =>
    new HostPortMapper({
      ifname,
      now,
      network,
      log,
      random: (out) => {
        getRandomValues(out);
      },
    });
}

function watchClock(addon: NativeAddon, onJump: Parameters<typeof ClockWatch.open>[1], log: Log): () => void {
  const watch = ClockWatch.open(addon, onJump);
  if (watch instanceof ClockWatch) return () => watch.close();
  log.error('cannot watch the clock: after a sleep the tunnel takes longer to come back', {
    why: outcome(watch),
  });
  return () => undefined;
}

function outcome(failure: { readonly code: number; readonly step: string } | null): string | null {
  return failure === null ? null : `${failure.step}: ${errnoName(failure.code)}`;
}

function told(log: Log, what: string, failure: string | null): void {
  if (failure !== null) log.error(what, { why: failure });
}
