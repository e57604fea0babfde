// One gateway at work: its machine, its sockets, its requests and the one timer that tells the machine the time. Leaves out which
// gateways there are: host-port-mapper.ts.

import type { Instant } from '../../base/instant.ts';
import type { RandomSource } from '../../base/prng.ts';
import { GatewayMapping } from '../../path/portmap/gateway-mapping.ts';
import type { PortMapping, PortMapStatus } from '../../path/portmap/mapping.ts';
import { askGateway } from './gateway-http.ts';
import { GatewaySockets } from './gateway-sockets.ts';
import type { Gateway } from './gateways.ts';

/** What setTimeout can take. */
const TIMER_MAX_MS = 0x7fff_ffff;
/** After the machine has given up waiting for confirmations. */
export const STOP_LIMIT_MS = 1_000;

export interface WorkerOptions {
  readonly gateway: Gateway;
  readonly port: number;
  /** Counts suspend. */
  readonly now: () => Instant;
  readonly random: RandomSource;
  /** Mappings or status may be different. */
  readonly changed: () => void;
}

export class GatewayWorker {
  readonly gateway: Gateway;
  readonly port: number;
  readonly #options: WorkerOptions;
  readonly #mapping: GatewayMapping;
  readonly #sockets: GatewaySockets;
  readonly #requests = new Set<() => void>();
  #timer: NodeJS.Timeout | null = null;
  #stopped: (() => void) | null = null;
  #closed = false;

  constructor(options: WorkerOptions) {
    const { gateway, port, random } = options;
    this.#options = options;
    this.gateway = gateway;
    this.port = port;
    this.#sockets = new GatewaySockets(gateway, {
      server: (bytes) => this.#with((now) => this.#mapping.handleServer(bytes, now)),
      serverUnreachable: () => this.#with((now) => this.#mapping.handleServerUnreachable(now)),
      searchAnswer: (bytes) => this.#with((now) => this.#mapping.handleSearchAnswer(bytes, now)),
      announcement: (bytes) => this.#with((now) => this.#mapping.handleAnnouncement(bytes, now)),
    });
    this.#mapping = new GatewayMapping({
      gateway: gateway.address,
      local: gateway.local,
      port,
      random,
      outputs: {
        toServer: (bytes) => this.#sockets.toServer(bytes),
        search: (bytes, to) => this.#sockets.search(bytes, to),
        searchOver: () => this.#sockets.searchOver(),
        http: (id, request) => {
          const end = askGateway(gateway.address, gateway.local, request, (answer) => {
            this.#requests.delete(end);
            this.#with((now) => this.#mapping.handleHttp(id, answer, now));
          });
          this.#requests.add(end);
        },
        changed: () => options.changed(),
      },
    });
  }

  get mappings(): readonly PortMapping[] {
    return this.#mapping.mappings;
  }

  get status(): readonly PortMapStatus[] {
    return this.#mapping.status;
  }

  /** Datagrams that answered nothing, and those of others. */
  get ignored(): number {
    return this.#mapping.ignored + this.#sockets.strangers;
  }

  /** Begins; asks again when it has begun. */
  refresh(): void {
    this.#with((now) => this.#mapping.refresh(now));
  }

  /** Gives the mappings back. Resolves when that is confirmed, and after STOP_LIMIT_MS in any case. */
  stop(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closed) {
        resolve();
        return;
      }
      const limit = setTimeout(() => this.close(), STOP_LIMIT_MS);
      this.#stopped = () => {
        clearTimeout(limit);
        resolve();
      };
      this.#with((now) => this.#mapping.end(now));
    });
  }

  /** At once, whatever the gateway still has. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const end of this.#requests) end();
    this.#requests.clear();
    this.#sockets.close();
    this.#stopped?.();
  }

  #with(work: (now: Instant) => void): void {
    if (this.#closed) return;
    work(this.#options.now());
    this.#arm();
  }

  #arm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const { deadline, isEnded } = this.#mapping;
    if (isEnded) {
      this.close();
      return;
    }
    if (!Number.isFinite(deadline)) return;
    // Rounded up: a timer that fires early would find nothing to do.
    const wait = Math.min(TIMER_MAX_MS, Math.max(0, Math.ceil(deadline - this.#options.now())));
    this.#timer = setTimeout(() => this.#with((at) => this.#mapping.handleDeadline(at)), wait);
    this.#timer.unref();
  }
}
