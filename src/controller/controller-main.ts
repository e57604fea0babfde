// The process behind `warren controller`: starts a controller, tells the service manager, ends it on a signal or when its store
// fails for good. Arguments and printing are the command line's.

import type { EventEmitter } from 'node:events';
import { type ListenAddress, parseListen, showListen } from '../service/listen.ts';
import { createLog, type Log, parseLogLevel } from '../service/log.ts';
import { ServiceNotifier } from '../service/notify.ts';
import { errorMessage, type StartFailure, startFailureOf } from '../service/start-error.ts';
import type { StartCompanion } from './companion.ts';
import { Controller, type ControllerSettings, type ControllerStarted } from './controller.ts';
import { LISTEN_DEFAULT } from './listener.ts';
import { readStunOptions, type StunOptions } from './stun/options.ts';

export type { StartCompanion } from './companion.ts';
export type { ControllerStarted } from './controller.ts';

export type ControllerOutcome =
  | { readonly kind: 'ended'; readonly signal: string }
  | { readonly kind: 'failed'; readonly failure: StartFailure };

/** As the command line has them: strings not looked into, null for what was not given. */
export interface ControllerArguments extends Omit<ControllerSettings, 'listen' | 'listenGiven' | 'metricsListen'> {
  readonly listen: ListenAddress | null;
  readonly metricsListen: ListenAddress | null;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** For the command line, which says what is wrong with its option. */
export function readListen(text: string): ListenAddress | null {
  return parseListen(text);
}

export function formatListen(address: ListenAddress): string {
  return showListen(address);
}

/** As `--stun` and `--stun-alternate` have it; `problem` says what is wrong with them. */
export function readStun(listen: string | undefined, alternate: string | undefined): StunOptions {
  return readStunOptions(listen, alternate);
}

/** Runs until a signal. `onReady` is called once nodes can join. `companion`: what runs in this process beside it. */
export async function runController(
  given: ControllerArguments,
  env: NodeJS.ProcessEnv,
  onReady: (started: ControllerStarted) => void,
  signals: EventEmitter = process,
  companion: StartCompanion | null = null,
): Promise<ControllerOutcome> {
  const log = createLog(parseLogLevel(env['LOG_LEVEL']));
  const settings = { ...given, listen: given.listen ?? LISTEN_DEFAULT, listenGiven: given.listen !== null };
  try {
    return await run(settings, env, log, onReady, signals, companion);
  } catch (error) {
    const failure = startFailureOf(error);
    if (failure === null) throw error;
    return { kind: 'failed', failure };
  }
}

async function run(
  settings: ControllerSettings,
  env: NodeJS.ProcessEnv,
  log: Log,
  onReady: (started: ControllerStarted) => void,
  signals: EventEmitter,
  companion: StartCompanion | null,
): Promise<ControllerOutcome> {
  // From here on, so that a signal during the start ends it cleanly too.
  const signalled = waitForSignal(signals);
  const notifier = new ServiceNotifier({ env });
  const controller = await Controller.start(settings, log);
  const reload = (): void => {
    try {
      controller.reloadCertificate();
      log.info('the certificate was read again');
    } catch (error) {
      log.error('the certificate was not read again', { why: errorMessage(error) });
    }
  };
  signals.on('SIGHUP', reload);
  if (companion !== null) await accompany(controller, companion, log);
  onReady(controller.started);
  notifier.ready(controller.started.url);
  if (notifier.failure !== null) log.error('the service manager was not told', { why: notifier.failure });
  const end = await Promise.race([signalled.signal, controller.failed]);
  notifier.stopping();
  signalled.stop();
  await controller.stop();
  notifier.close();
  signals.off('SIGHUP', reload);
  if (typeof end === 'string') return { kind: 'ended', signal: end };
  throw end;
}

/** The controller is there without it: what goes wrong with it is no reason to stop. */
async function accompany(controller: Controller, companion: StartCompanion, log: Log): Promise<void> {
  await controller.accompany(companion).catch((error: unknown) => {
    log.error('what should run beside the controller does not', { why: errorMessage(error) });
  });
}

/** A second signal finds the system's own behaviour: it ends the process at once. */
function waitForSignal(signals: EventEmitter): { readonly signal: Promise<string>; readonly stop: () => void } {
  let tell: (signal: string) => void = () => undefined;
  const signal = new Promise<string>((resolve) => {
    tell = resolve;
  });
  const handlers = SIGNALS.map((name) => [name, () => tell(name)] as const);
  for (const [name, handler] of handlers) signals.on(name, handler);
  const stop = (): void => {
    for (const [name, handler] of handlers) signals.off(name, handler);
  };
  return { signal, stop };
}
