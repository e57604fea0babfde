// Where no UDP comes through: every relay that tells a URL is reached over a WebSocket instead (relay-bridge.ts), until UDP works
// again. Decides when; the mesh engine is given the bridges' endpoints on the loopback in place of the relays' own.

import type { Endpoint } from '../../base/ip.ts';
import type { NodeId } from '../../protocol/values.ts';
import type { Log } from '../log.ts';
import { RelayBridge } from '../relay-bridge.ts';

/** Relays that are bridged at once. */
export const BRIDGES_MAX = 8;
/** Without an answer of any relay or STUN server for so long UDP counts as blocked; that it works is believed at once. */
export const PATIENCE_MS = 1_500;

export interface BridgedRelay {
  readonly id: NodeId;
  /** Null: it has no WebSocket. */
  readonly url: string | null;
}

export interface RelayBridgesOptions {
  readonly log: Log;
  readonly relays: () => readonly BridgedRelay[];
  /** UDP has been seen to work, or not. */
  readonly udp: () => 'works' | 'blocked' | 'unknown';
  /** A relay has taken us in. */
  readonly hasHome: () => boolean;
  readonly planePort: () => number;
  /** Null: at its own endpoints again. */
  readonly override: (id: NodeId, endpoint: Endpoint | null) => void;
}

export class RelayBridges {
  readonly #options: RelayBridgesOptions;
  readonly #bridges = new Map<NodeId, { readonly url: string; bridge: RelayBridge | null }>();
  #patience: NodeJS.Timeout | null = null;
  #impatient = false;
  #closed = false;

  constructor(options: RelayBridgesOptions) {
    this.#options = options;
  }

  get active(): boolean {
    return this.#bridges.size > 0;
  }

  /** The netmap, the home or what is known of UDP may be different. */
  update(): void {
    const { udp, hasHome, relays } = this.#options;
    if (this.#closed) return;
    if (udp() === 'works' || (hasHome() && !this.active)) {
      this.#stopWaiting();
      this.#closeAll();
      return;
    }
    const wanted = relays().filter(({ url }) => url !== null);
    if (udp() === 'blocked' || this.#impatient) this.#open(wanted);
    else
      this.#patience ??= setTimeout(() => {
        this.#patience = null;
        this.#impatient = true;
        this.update();
      }, PATIENCE_MS).unref();
  }

  networkChanged(): void {
    this.#stopWaiting();
    // What was never proved to be blocked may work here.
    if (this.#options.udp() === 'unknown') this.#closeAll();
    const port = this.#options.planePort();
    for (const { bridge } of this.#bridges.values()) {
      bridge?.setPlanePort(port);
      bridge?.networkChanged();
    }
  }

  close(): void {
    this.#closed = true;
    this.#stopWaiting();
    this.#closeAll();
  }

  #open(wanted: readonly BridgedRelay[]): void {
    const { planePort, override, log } = this.#options;
    for (const [id, { url }] of this.#bridges) {
      if (!wanted.some((relay) => relay.id === id && relay.url === url)) this.#close(id);
    }
    for (const { id, url } of wanted.slice(0, BRIDGES_MAX)) {
      if (url === null || this.#bridges.has(id)) continue;
      const entry: { readonly url: string; bridge: RelayBridge | null } = { url, bridge: null };
      this.#bridges.set(id, entry);
      log.debug('UDP does not come through: the relay is reached over a WebSocket', { relay: id });
      RelayBridge.open({ url, planePort: planePort() }).then(
        (bridge) => {
          if (this.#bridges.get(id) !== entry) {
            bridge.close();
            return;
          }
          entry.bridge = bridge;
          override(id, bridge.endpoint);
        },
        (error: unknown) => {
          this.#bridges.delete(id);
          log.error('cannot bridge to a relay', { why: error instanceof Error ? error.message : String(error) });
        },
      );
    }
  }

  #close(id: NodeId): void {
    const entry = this.#bridges.get(id);
    if (entry === undefined) return;
    this.#bridges.delete(id);
    entry.bridge?.close();
    this.#options.override(id, null);
  }

  #closeAll(): void {
    for (const id of [...this.#bridges.keys()]) this.#close(id);
  }

  #stopWaiting(): void {
    if (this.#patience !== null) clearTimeout(this.#patience);
    this.#patience = null;
    this.#impatient = false;
  }
}
