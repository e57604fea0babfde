// PortMapper of this machine: the default gateways as rtnetlink tells them, one worker for each, and one list of what they came to. A
// gateway that is gone is given its mapping back, as far as it can still be reached, while the next one is already asked.

import type { Instant } from '../../base/instant.ts';
import type { RandomSource } from '../../base/prng.ts';
import { PORT_MAP_PROTOCOLS, type PortMapping, type PortMapStatus } from '../../path/portmap/mapping.ts';
import type { Log } from '../log.ts';
import type { HostNetwork } from '../mesh/host-network.ts';
import { GatewayWorker } from './gateway-worker.ts';
import { chooseGateways, type Gateway } from './gateways.ts';
import type { PortMapper } from './port-mapper.ts';

/** Gateways that are being given their mappings back; of more the oldest are let go at once. */
const RETIRING_MAX = 4;

export interface HostPortMapperOptions {
  /** The tunnel's interface, as it is named now: what leads through it is no gateway. */
  readonly ifname: () => string;
  readonly network: Pick<HostNetwork, 'addresses' | 'routes'>;
  /** Counts suspend. */
  readonly now: () => Instant;
  readonly random: RandomSource;
  readonly log: Log;
}

export class HostPortMapper implements PortMapper {
  readonly #options: HostPortMapperOptions;
  readonly #listeners = new Set<() => void>();
  readonly #retiring: { readonly worker: GatewayWorker; readonly done: Promise<void> }[] = [];
  #workers: readonly GatewayWorker[] = [];
  #port = 0;
  #withoutIpv4: string | null = 'not asked yet';
  #reading = false;
  #readAgain = false;
  #closed = false;
  #telling = false;
  /** What was told last. */
  #told = '';
  #toldMappings = '';

  constructor(options: HostPortMapperOptions) {
    this.#options = options;
  }

  request(port: number): void {
    this.#port = port;
    this.#readAgain = true;
    if (this.#reading || this.#closed) return;
    this.#reading = true;
    this.#read().catch((error: unknown) => {
      this.#options.log.error('looking for gateways failed', {
        why: error instanceof Error ? error.message : String(error),
      });
    });
  }

  async stop(): Promise<void> {
    this.#closed = true;
    this.#listeners.clear();
    const stopping = this.#workers.map((worker) => worker.stop());
    this.#workers = [];
    await Promise.all([...stopping, ...this.#retiring.map(({ done }) => done)]);
  }

  get mappings(): readonly PortMapping[] {
    return this.#workers.flatMap(({ mappings }) => mappings);
  }

  /** Datagrams that were not for us, of the gateways that are asked now. */
  get ignored(): number {
    return this.#workers.reduce((sum, { ignored }) => sum + ignored, 0);
  }

  status(): readonly PortMapStatus[] {
    const told = this.#workers.flatMap(({ status }) => status);
    const why = this.#withoutIpv4;
    if (why === null) return told;
    const nobody = { gateway: null, state: 'none', external: null, doubleNat: false, why } as const;
    const missing = PORT_MAP_PROTOCOLS.filter((one) => !told.some(({ protocol }) => protocol === one));
    return [...missing.map((protocol): PortMapStatus => ({ protocol, ...nobody })), ...told];
  }

  onChange(listener: () => void): () => void {
    // The same function given twice is two listeners.
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  async #read(): Promise<void> {
    const { network, ifname } = this.#options;
    try {
      while (this.#readAgain && !this.#closed) {
        this.#readAgain = false;
        const [addresses, routes] = await Promise.all([network.addresses(), network.routes()]);
        if (this.#closed) return;
        const { gateways, withoutIpv4 } = chooseGateways(addresses, routes, ifname());
        this.#withoutIpv4 = withoutIpv4;
        this.#apply(gateways);
      }
    } finally {
      this.#reading = false;
    }
  }

  #apply(gateways: readonly Gateway[]): void {
    const port = this.#port;
    const before = this.#workers;
    this.#workers = gateways.map(
      (gateway) =>
        before.find((worker) => worker.port === port && isSame(worker.gateway, gateway)) ?? this.#open(gateway),
    );
    for (const worker of before) if (!this.#workers.includes(worker)) this.#retire(worker);
    for (const worker of this.#workers) worker.refresh();
    this.#changed();
  }

  #open(gateway: Gateway): GatewayWorker {
    const { now, random } = this.#options;
    return new GatewayWorker({ gateway, port: this.#port, now, random, changed: () => this.#changed() });
  }

  #retire(worker: GatewayWorker): void {
    const done = worker.stop().then(() => {
      const at = this.#retiring.findIndex((one) => one.worker === worker);
      if (at >= 0) this.#retiring.splice(at, 1);
    });
    this.#retiring.push({ worker, done });
    if (this.#retiring.length > RETIRING_MAX) this.#retiring[0]?.worker.close();
  }

  /** Told when it is different, and not from within the call of a worker. */
  #changed(): void {
    if (this.#closed) return;
    const mappings = this.mappings.map(({ endpoint, protocol }) => `${protocol} ${endpoint}`).join();
    const told = JSON.stringify(this.status());
    if (mappings !== this.#toldMappings) {
      this.#toldMappings = mappings;
      this.#options.log.debug('port mappings', { mappings: mappings === '' ? 'none' : mappings });
    }
    if (told === this.#told) return;
    this.#told = told;
    if (this.#telling) return;
    this.#telling = true;
    queueMicrotask(() => {
      this.#telling = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }
}

function isSame(a: Gateway, b: Gateway): boolean {
  return a.address === b.address && a.local === b.local && a.ifindex === b.ifindex;
}
