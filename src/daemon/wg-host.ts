// One WireGuard interface as a process runs it: the plane, the engine, the control socket and what can end them, put together.
// Which plane, which signals and where the socket is are passed in; wg-main.ts passes the real ones. Ends on a signal, when the
// link or the socket's file is deleted, and leaves nothing behind.

import { getRandomValues } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { WallTime } from '../base/instant.ts';
import { createHostProvider } from '../crypto/node-and-sodium.ts';
import { type DataPlane, LinkChange } from '../dataplane/dataplane.ts';
import { Engine } from '../wireguard/engine.ts';
import type { Peer } from '../wireguard/peer.ts';
import type { Log } from './log.ts';
import { UapiSocket } from './uapi-socket.ts';

export type EndReason = 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'linkDeleted' | 'socketDeleted' | 'stopped';

export interface WgHostOptions {
  /** `onWake` may be called at any moment, from within a call of the plane too. `ifname`: what the kernel calls it. */
  readonly createPlane: (onWake: () => void) => { readonly plane: DataPlane; readonly ifname: string };
  /** What the plane was made for; one more is refused with ENOSPC. */
  readonly peersMax: number;
  readonly log: Log;
  /** A session without real data for this long is closed; Infinity = never. */
  readonly idleTimeoutMs: number;
  readonly uapiDirectory?: string;
  readonly uapiFd?: number;
  /** Where the signals come from: `process`. */
  readonly signals: EventEmitter;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Batches handled before other things of the event loop (control clients, signals) have their turn. */
const BATCHES_PER_TURN = 4;

export class WgHost {
  /** Resolves when the interface and the socket are gone. */
  readonly ended: Promise<EndReason>;
  readonly #options: WgHostOptions;
  readonly #plane: DataPlane;
  readonly #ifname: string;
  readonly #engine: Engine;
  #socket: UapiSocket<Peer> | null = null;
  #scheduled: NodeJS.Immediate | null = null;
  #closed = false;
  #tellEnd: (reason: EndReason) => void = () => undefined;
  readonly #onSignal = (signal: EndReason): void => this.stop(signal);
  readonly #onExit = (): void => this.#socket?.closeNow();

  /** Interface and socket are there when it resolves. Throws what the plane throws, and StartError for the socket. */
  static async start(options: WgHostOptions): Promise<WgHost> {
    const host = new WgHost(options);
    try {
      await host.#open();
    } catch (error) {
      host.#close();
      throw error;
    }
    return host;
  }

  private constructor(options: WgHostOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => {
      this.#tellEnd = resolve;
    });
    // The engine is made a line later than the plane that wakes it: the first wake-up waits for the next turn.
    const { plane, ifname } = options.createPlane(() => this.#schedule());
    this.#plane = plane;
    this.#ifname = ifname;
    this.#engine = new Engine({
      plane: this.#plane,
      crypto: createHostProvider(),
      random: (out) => {
        getRandomValues(out);
      },
      wallClock: () => Date.now() as WallTime,
      idleTimeoutMs: options.idleTimeoutMs,
      onLink: (change, mtu) => this.#handleLink(change, mtu),
      onBindFailed: (errno) => options.log.error('cannot open the UDP sockets', { errno }),
    });
  }

  get ifname(): string {
    return this.#ifname;
  }

  get socketPath(): string | null {
    return this.#socket?.path ?? null;
  }

  get engine(): Engine {
    return this.#engine;
  }

  /** Ends everything at once. Idempotent; the first reason is told. */
  stop(reason: EndReason): void {
    if (this.#closed) return;
    this.#options.log.debug('ending', { interface: this.#ifname, reason });
    this.#close();
    this.#tellEnd(reason);
  }

  async #open(): Promise<void> {
    const { log, signals, uapiDirectory, uapiFd, peersMax } = this.#options;
    const ifname = this.#ifname;
    for (const signal of SIGNALS) signals.on(signal, this.#onSignal);
    signals.on('exit', this.#onExit);
    const socket = await UapiSocket.open<Peer>({
      ifname,
      device: this.#engine,
      now: () => this.#plane.now(),
      environment: {
        resolveZone: interfaceIndex,
        hasRoom: () => this.#engine.peerCount < peersMax,
      },
      log,
      onDeleted: () => this.stop('socketDeleted'),
      ...(uapiDirectory === undefined ? {} : { directory: uapiDirectory }),
      ...(uapiFd === undefined ? {} : { listenFd: uapiFd }),
    });
    this.#socket = socket;
    // A signal or the deletion of the link may have come while the socket was being made.
    if (this.#closed) socket.closeNow();
    else log.debug('started', { interface: ifname, socket: socket.path });
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const signal of SIGNALS) this.#options.signals.off(signal, this.#onSignal);
    this.#options.signals.off('exit', this.#onExit);
    if (this.#scheduled !== null) clearImmediate(this.#scheduled);
    this.#socket?.closeNow();
    this.#engine.close(this.#plane.now());
    this.#plane.close();
  }

  // — what the plane says —

  #schedule(): void {
    if (this.#closed || this.#scheduled !== null) return;
    this.#scheduled = setImmediate(() => this.#wake());
  }

  #wake(): void {
    this.#scheduled = null;
    for (let batch = 0; batch < BATCHES_PER_TURN; batch++) {
      if (this.#closed || !this.#engine.handleWake(this.#plane.now())) return;
    }
    this.#schedule();
  }

  #handleLink(change: number, mtu: number): void {
    const { log } = this.#options;
    const ifname = this.#ifname;
    switch (change) {
      case LinkChange.up:
        log.debug('link up', { interface: ifname, port: this.#engine.listenPort() });
        break;
      case LinkChange.down:
        log.debug('link down', { interface: ifname });
        break;
      case LinkChange.mtu:
        log.debug('link MTU', { interface: ifname, mtu });
        break;
      case LinkChange.deleted:
        // We are inside the engine's handling of a batch of the plane: both end when that is over.
        setImmediate(() => this.stop('linkDeleted'));
        break;
      default:
        break;
    }
  }
}

/** The index of an interface by its name, for the zone of a link-local endpoint; null when there is none. */
export function interfaceIndex(name: string): number | null {
  for (const address of networkInterfaces()[name] ?? []) {
    if (address.family === 'IPv6' && address.scopeid > 0) return address.scopeid;
  }
  // Without a link-local address there, or down: the name still has an index.
  if (!/^[^/\s%]{1,15}$/.test(name) || name === '.' || name === '..') return null;
  try {
    return Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'latin1').trim());
  } catch {
    return null;
  }
}
