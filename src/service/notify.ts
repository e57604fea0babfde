// What a process tells the service manager that started it (sd_notify(3)): ready, what it does, that it is alive, that it stops. For
// every process of ours alike, so it is a room of its own. Without NOTIFY_SOCKET it does nothing and loads nothing. Leaves
// out passing descriptors, and notifying over vsock.

import { getSystemErrorName } from 'node:util';
import { loadAddon, type NativeFailure } from '../dataplane/native/addon.ts';

/** What could not be told because the manager was busy waits; more is forgotten, the oldest first. */
export const WAITING_MAX = 16;
export const AGAIN_AFTER_MS = 100;
const STATUS_CHARACTERS_MAX = 512;

export type SendDatagram = (path: string, bytes: Uint8Array) => NativeFailure | null;

export interface NotifierOptions {
  /** The variables read are removed from it: they are not for children. */
  readonly env?: NodeJS.ProcessEnv;
  readonly send?: SendDatagram;
}

export class ServiceNotifier {
  readonly #socket: string | null;
  readonly #send: SendDatagram;
  readonly #waiting: string[] = [];
  #again: NodeJS.Timeout | null = null;
  #watchdog: NodeJS.Timeout | null = null;
  #failure: string | null = null;

  constructor(options: NotifierOptions = {}) {
    const env = options.env ?? process.env;
    this.#socket = socketOf(env['NOTIFY_SOCKET']);
    const watchdogMs = this.#socket === null ? null : watchdogOf(env);
    delete env['NOTIFY_SOCKET'];
    delete env['WATCHDOG_USEC'];
    delete env['WATCHDOG_PID'];
    this.#send = options.send ?? sendNatively;
    if (watchdogMs !== null) {
      // From the event loop on purpose: when that stands still the manager shall know.
      this.#watchdog = setInterval(() => this.#tell('WATCHDOG=1'), watchdogMs / 2);
      this.#watchdog.unref();
    }
  }

  /** Whether there is somebody to tell. */
  get active(): boolean {
    return this.#socket !== null;
  }

  /** Why the last word did not arrive, for a log; null when all did. */
  get failure(): string | null {
    return this.#failure;
  }

  /** The process does its work now; units that wait for it start. */
  ready(status?: string): void {
    this.#tell(status === undefined ? 'READY=1' : `READY=1\nSTATUS=${oneLine(status)}`);
  }

  /** For a person who asks the manager. */
  status(text: string): void {
    this.#tell(`STATUS=${oneLine(text)}`);
  }

  /** The end has begun, on purpose. */
  stopping(status?: string): void {
    this.#tell(status === undefined ? 'STOPPING=1' : `STOPPING=1\nSTATUS=${oneLine(status)}`);
  }

  /** No timer remains. What waits is forgotten. */
  close(): void {
    if (this.#watchdog !== null) clearInterval(this.#watchdog);
    if (this.#again !== null) clearTimeout(this.#again);
    this.#watchdog = null;
    this.#again = null;
    this.#waiting.length = 0;
  }

  #tell(state: string): void {
    if (this.#socket === null) return;
    this.#waiting.push(state);
    if (this.#waiting.length > WAITING_MAX) this.#waiting.shift();
    if (this.#again === null) this.#flush();
  }

  /** In order: the manager must not hear READY after STOPPING. */
  #flush(): void {
    this.#again = null;
    for (;;) {
      const state = this.#waiting[0];
      if (state === undefined || this.#socket === null) return;
      const failure = this.#send(this.#socket, new TextEncoder().encode(state));
      this.#failure = failure === null ? null : `${failure.step}: ${getSystemErrorName(-failure.code)}`;
      if (failure !== null && getSystemErrorName(-failure.code) === 'EAGAIN') {
        this.#again = setTimeout(() => this.#flush(), AGAIN_AFTER_MS);
        this.#again.unref();
        return;
      }
      this.#waiting.shift();
    }
  }
}

/** A path, or '@' and an abstract name. */
function socketOf(value: string | undefined): string | null {
  return value !== undefined && /^[/@]./.test(value) ? value : null;
}

/** Null: no watchdog, or not for this process. */
function watchdogOf(env: NodeJS.ProcessEnv): number | null {
  const pid = env['WATCHDOG_PID'];
  if (pid !== undefined && pid !== `${process.pid}`) return null;
  const microseconds = Number(env['WATCHDOG_USEC']);
  return Number.isFinite(microseconds) && microseconds >= 2000 ? microseconds / 1000 : null;
}

function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ').slice(0, STATUS_CHARACTERS_MAX);
}

function sendNatively(path: string, bytes: Uint8Array): NativeFailure | null {
  const loaded = loadAddon();
  if (!loaded.ok) return { code: ENOEXEC, step: loaded.message };
  return loaded.addon.unixDatagram(path, bytes);
}

const ENOEXEC = 8;
