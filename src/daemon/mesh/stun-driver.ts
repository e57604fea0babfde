// Where the internet sees this machine's tunnel come from, and how the NAT in front of it maps: asks the controller's STUN servers from the
// tunnel's own socket when the node comes up and when its network changed. Not by polling: what keeps a mapping alive is the
// session with the home relay, and a change of it is seen there. Leaves out what is made of the answers.

import { type Instant, NEVER } from '../../base/instant.ts';
import { type Endpoint, endpointParts, type Family, familyOf, formatEndpoint, type IpAddress } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import { judgeMapping, type Observation } from '../../path/stun/behaviour.ts';
import { StunClient, type StunFailure, type StunResult } from '../../path/stun/client.ts';
import type { Mapping } from '../../protocol/reach.ts';

/** Of all families and ports together. */
export const STUN_SERVERS_MAX = 8;
/** When no server answered: the network may not have been ready. After the last one only a change of the network begins another. */
const RETRIES_MS = [2_000, 15_000, 120_000, 900_000] as const;

export interface StunServerReport {
  readonly server: Endpoint;
  readonly reflexive: Endpoint | null;
  readonly rttMs: number | null;
  readonly error: StunFailure | null;
}

export interface StunFindings {
  /** As the first server of each family that answered sees us. */
  readonly reflexive: readonly Endpoint[];
  /** Of IPv4, or of IPv6 where there is no IPv4. */
  readonly mapping: Mapping;
  readonly udp: 'works' | 'blocked' | 'unknown';
  readonly servers: readonly StunServerReport[];
}

const NOTHING: StunFindings = { reflexive: [], mapping: 'unknown', udp: 'unknown', servers: [] };

export interface StunDriverOptions {
  readonly random: RandomSource;
  readonly now: () => Instant;
  /** From the tunnel's socket. */
  readonly send: (to: Endpoint, datagram: Uint8Array) => boolean;
  /** The tunnel's socket on every address of this machine. */
  readonly local: () => readonly Endpoint[];
  /** `findings` is different, or was confirmed. */
  readonly onFindings: () => void;
}

export class StunDriver {
  readonly #options: StunDriverOptions;
  readonly #client: StunClient;
  #servers: readonly Endpoint[] = [];
  #results = new Map<Endpoint, StunResult>();
  #findings: StunFindings = NOTHING;
  #timer: NodeJS.Timeout | null = null;
  #retry: NodeJS.Timeout | null = null;
  #failures = 0;
  #waiting: (() => void)[] = [];
  #closed = false;

  constructor(options: StunDriverOptions) {
    this.#options = options;
    this.#client = new StunClient({
      random: options.random,
      outputs: { send: options.send, result: (result) => this.#took(result) },
    });
  }

  get findings(): StunFindings {
    return this.#findings;
  }

  /** Asks at once when they are others than before. */
  setServers(addresses: readonly IpAddress[], ports: readonly number[]): void {
    const servers = [...new Set(addresses)]
      .flatMap((address) => ports.map((port) => formatEndpoint(address, port)))
      .slice(0, STUN_SERVERS_MAX);
    if (servers.join() === this.#servers.join()) return;
    this.#servers = servers;
    this.restart();
  }

  /** Asks all servers afresh: the network changed, or somebody sees us elsewhere. */
  restart(): void {
    this.#failures = 0;
    this.#run();
  }

  /** As `restart`; resolves when the last one has answered or been given up, with what was found. */
  check(): Promise<StunFindings> {
    return new Promise((resolve) => {
      this.#waiting.push(() => resolve(this.#findings));
      this.restart();
    });
  }

  /** `datagram`: borrowed. */
  handle(datagram: Uint8Array, source: Endpoint): void {
    if (this.#closed) return;
    this.#client.handleDatagram(datagram, source, this.#options.now());
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    this.#client.cancelAll();
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#retry !== null) clearTimeout(this.#retry);
    for (const done of this.#waiting.splice(0)) done();
  }

  #run(): void {
    if (this.#closed) return;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
    this.#client.cancelAll();
    this.#results = new Map();
    const now = this.#options.now();
    for (const server of this.#servers) this.#client.ask(server, now);
    this.#schedule();
    if (this.#client.size === 0) this.#finish();
  }

  #took(result: StunResult): void {
    this.#results.set(result.server, result);
    if (this.#results.size === this.#servers.length) this.#finish();
    // Others are not kept waiting by a server that is silent: what one says is told at once.
    else if (result.kind === 'reflexive') this.#tell(false);
  }

  #finish(): void {
    this.#tell(true);
    for (const done of this.#waiting.splice(0)) done();
    const delay = RETRIES_MS[this.#failures];
    if (this.#findings.udp !== 'blocked' || delay === undefined) return;
    this.#failures++;
    this.#retry = setTimeout(() => this.#run(), delay).unref();
  }

  #tell(complete: boolean): void {
    const found = findingsOf(this.#servers, this.#results, this.#options.local());
    // Half of the answers say nothing of what varies, and silence is not proved yet.
    this.#findings = complete || found.mapping === 'varies' ? found : { ...found, mapping: this.#findings.mapping };
    this.#options.onFindings();
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const at = this.#client.nextDeadline();
    if (at === NEVER || this.#closed) return;
    const ms = Math.max(0, Math.ceil(at - this.#options.now()));
    this.#timer = setTimeout(() => {
      this.#client.handleDeadline(this.#options.now());
      this.#schedule();
    }, ms).unref();
  }
}

function findingsOf(
  servers: readonly Endpoint[],
  results: ReadonlyMap<Endpoint, StunResult>,
  local: readonly Endpoint[],
): StunFindings {
  const observations: Observation[] = [];
  const reports = servers.map((server): StunServerReport => {
    const result = results.get(server);
    if (result === undefined) return { server, reflexive: null, rttMs: null, error: null };
    if (result.kind === 'failed') return { server, reflexive: null, rttMs: null, error: result.reason };
    observations.push({ server, reflexive: result.reflexive });
    return { server, reflexive: result.reflexive, rttMs: result.rttMs, error: null };
  });
  const reflexive = ([4, 6] as const).flatMap((family) => {
    const first = observations.find((one) => isOf(one.reflexive, family));
    return first === undefined ? [] : [first.reflexive];
  });
  const family: Family = observations.some((one) => isOf(one.reflexive, 4)) ? 4 : 6;
  const { mapping } = judgeMapping(observations, local, family);
  const silent = servers.length > 0 && results.size === servers.length && observations.length === 0;
  const udp = observations.length > 0 ? 'works' : silent ? 'blocked' : 'unknown';
  return { reflexive, mapping, udp, servers: reports };
}

function isOf(endpoint: Endpoint, family: Family): boolean {
  return familyOf(endpointParts(endpoint).address) === family;
}
