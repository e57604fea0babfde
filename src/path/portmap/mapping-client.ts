// What the three protocols have in common when one of them asks one gateway for one mapping: it is looked for, found, asked for a
// mapping when that is allowed, renewed, given back. How it is asked is pcp-client.ts, nat-pmp-client.ts and upnp-client.ts;
// which of them may map is gateway-mapping.ts.

import { earliest, type Instant } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { RandomSource } from '../../base/prng.ts';
import { type External, type Lease, LIFETIME_MIN_S, newLease, postponed } from './lease.ts';
import type { PortMapProtocol } from './mapping.ts';
import { isUnspecified } from './outer-address.ts';

/** A request at the gateway's own address. */
export interface GatewayHttpRequest {
  readonly method: 'GET' | 'POST';
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Of the answer; a longer one counts as none. */
  readonly bodyBytesMax: number;
}

export type GatewayHttpAnswer =
  | { readonly ok: true; readonly status: number; readonly body: string }
  | { readonly ok: false; readonly why: string };

/** What the machine gives rise to. Called within its calls; must not call back into it. */
export interface PortMapOutputs {
  /** One datagram to the gateway's SERVER_PORT. `bytes` is owned by whoever gets it. */
  toServer(bytes: Uint8Array): void;
  /** One datagram to SSDP_PORT of the group or of the gateway; answers are wanted until `searchOver`. */
  search(bytes: Uint8Array, to: IpAddress): void;
  searchOver(): void;
  /** `handleHttp` with the same id follows. */
  http(id: number, request: GatewayHttpRequest): void;
  /** Mappings or status are different. */
  changed(): void;
}

export interface ClientContext {
  readonly gateway: IpAddress;
  /** Ours towards the gateway. */
  readonly local: IpAddress;
  readonly port: number;
  readonly random: RandomSource;
  readonly outputs: PortMapOutputs;
}

/** found: it would map, and waits for leave. ended: with an outcome. */
export type ClientPhase = 'idle' | 'probing' | 'found' | 'mapping' | 'mapped' | 'ended' | 'deleting';

export interface ClientOutcome {
  readonly state: 'refused' | 'unsupported';
  readonly why: string;
  /** The gateway says that this will pass: when to ask again. Null: as rarely as for one that is silent. */
  readonly retryAfterMs: number | null;
}

export abstract class MappingClient {
  abstract readonly protocol: PortMapProtocol;
  protected readonly context: ClientContext;
  /** What we had last: to be asked for again. */
  protected last: External | null = null;
  #phase: ClientPhase = 'idle';
  #lease: Lease | null = null;
  #outcome: ClientOutcome | null = null;

  constructor(context: ClientContext) {
    this.context = context;
  }

  get phase(): ClientPhase {
    return this.#phase;
  }

  get lease(): Lease | null {
    return this.#lease;
  }

  get outcome(): ClientOutcome | null {
    return this.#outcome;
  }

  get deadline(): Instant {
    const lease = this.#lease;
    if (lease === null) return this.workDeadline;
    const next = earliest(lease.expiresAt, this.workDeadline);
    return this.isBusy ? next : earliest(next, lease.renewAt);
  }

  /** Looks for the gateway's server. Nothing happens where that is done or under way. */
  begin(now: Instant): void {
    if (this.#phase !== 'idle' && this.#phase !== 'ended') return;
    this.#outcome = null;
    this.probe(now);
  }

  /** It may map now. */
  allow(now: Instant): void {
    if (this.#phase === 'found') this.map(now);
  }

  /** What it is about is not needed: another protocol has mapped. A mapping stays. */
  rest(): void {
    if (this.#phase !== 'probing' && this.#phase !== 'found') return;
    this.cancel();
    this.setPhase('idle');
  }

  /** Asks for the same again, before its time. */
  renew(now: Instant): void {
    if (this.#phase === 'mapped' && !this.isBusy) this.ask(now);
  }

  /** Gives back what there is, or may be; `phase` is 'idle' when that is done. */
  end(now: Instant): void {
    if (this.#phase === 'deleting') return;
    const mayBeMapped = this.#phase === 'mapped' || this.#phase === 'mapping';
    this.cancel();
    this.#lease = null;
    this.setPhase(mayBeMapped ? 'deleting' : 'idle');
    if (mayBeMapped) this.remove(now);
  }

  handleDeadline(now: Instant): void {
    if (this.#lease !== null && now >= this.#lease.expiresAt) {
      this.cancel();
      this.failed('unsupported', 'the gateway stopped answering, and the mapping ran out');
      return;
    }
    if (now >= this.workDeadline) this.handleWork(now);
    if (this.#lease !== null && !this.isBusy && now >= this.#lease.renewAt) this.ask(now);
  }

  // — for those that ask —

  /** Something of ours is under way, and `workDeadline` is its. */
  protected abstract readonly isBusy: boolean;
  protected abstract readonly workDeadline: Instant;
  /** From idle or ended, into another phase. */
  protected abstract probe(now: Instant): void;
  protected abstract map(now: Instant): void;
  /** For the mapping that there is. */
  protected abstract ask(now: Instant): void;
  protected abstract remove(now: Instant): void;
  /** Whatever is under way is of no interest any more. */
  protected abstract cancel(): void;
  protected abstract handleWork(now: Instant): void;

  protected setPhase(phase: ClientPhase): void {
    if (this.#phase === phase) return;
    this.#phase = phase;
    this.context.outputs.changed();
  }

  /** `lifetimeSeconds` as in newLease. What no gateway should grant is taken as a refusal. */
  protected granted(external: External, lifetimeSeconds: number, forEver: boolean, now: Instant): void {
    if (external.port === 0 || isUnspecified(external.address)) {
      this.failed('refused', 'it gave a mapping without an outer address or port');
    } else if (!forEver && lifetimeSeconds < LIFETIME_MIN_S) {
      this.failed('refused', `it maps for no longer than ${lifetimeSeconds} s`);
    } else {
      this.#lease = newLease(external, forEver ? 0 : lifetimeSeconds, now, this.context.random);
      this.last = external;
      this.#phase = 'mapped';
      this.context.outputs.changed();
    }
  }

  /** Nobody answered: later again, as long as there is a mapping. */
  protected postpone(now: Instant): void {
    if (this.#lease !== null) this.#lease = postponed(this.#lease, now, this.context.random);
  }

  protected failed(state: ClientOutcome['state'], why: string, retryAfterMs: number | null = null): void {
    this.#lease = null;
    this.#outcome = { state, why, retryAfterMs };
    this.#phase = 'ended';
    this.context.outputs.changed();
  }
}

export function nothingListens(port: number): string {
  return `nothing listens on UDP port ${port} of the gateway`;
}

export function noAnswer(port: number): string {
  return `no answer from UDP port ${port} of the gateway`;
}
