// PCP's part (RFC 6887 §11, §15): one MAP request is the question whether the gateway speaks it, the mapping, its renewal and, with a
// lifetime of zero, its end. The nonce is the mapping's: who does not know it can neither answer for the gateway nor delete.

import { equalBytes } from '../../base/bytes.ts';
import { type Instant, NEVER } from '../../base/instant.ts';
import { familyOf, type IpAddress } from '../../base/ip.ts';
import { Exchange } from './exchange.ts';
import { LIFETIME_S } from './lease.ts';
import { type ClientContext, MappingClient, noAnswer, nothingListens } from './mapping-client.ts';
import { NONCE_LENGTH, PCP_RESULT, type PcpMapBody, type PcpResponse, SERVER_PORT, writePcpMap } from './pcp.ts';

/** Any address, in the words of either family. */
const ANY = { 4: '0.0.0.0' as IpAddress, 6: '::' as IpAddress } as const;
/** RFC 6887 §15: an error that is said to last longer is taken as this. */
const ERROR_LIFETIME_MAX_MS = 1_800_000;

export class PcpClient extends MappingClient {
  readonly protocol = 'pcp';
  readonly #nonce = new Uint8Array(NONCE_LENGTH);
  #exchange: Exchange | null = null;

  constructor(context: ClientContext) {
    super(context);
    context.random(this.#nonce);
  }

  /** False: it answers nothing that was asked. */
  handleResponse(response: PcpResponse, now: Instant): boolean {
    if (this.#exchange === null || response.kind !== 'map') return false;
    const { result, map, lifetimeSeconds } = response;
    if (map !== null && !this.#isOurs(map)) return false;
    if (this.phase === 'deleting') {
      // A success with a lifetime answers what was asked before.
      if (result === PCP_RESULT.success && lifetimeSeconds > 0) return false;
      this.#exchange = null;
      this.setPhase('idle');
      return true;
    }
    this.#exchange = null;
    if (result !== PCP_RESULT.success || map === null) {
      const [state, why] = explained(result);
      const lasts = Math.min(lifetimeSeconds * 1_000, ERROR_LIFETIME_MAX_MS);
      this.failed(state, why, PASSING.includes(result) ? lasts : null);
    } else if (familyOf(map.external.address) !== familyOf(this.context.local)) {
      this.failed('refused', 'it gave an outer address of the other IP version');
    } else {
      this.granted(map.external, lifetimeSeconds, false, now);
    }
    return true;
  }

  /** The gateway said, in NAT-PMP's words, that it does not know this version. */
  handleOtherVersion(): void {
    if (this.#exchange === null || this.phase === 'deleting') return;
    this.#exchange = null;
    this.failed('unsupported', 'the gateway speaks NAT-PMP, which is older');
  }

  /** ICMP said that nobody listens. While a mapping lives the gateway may just be starting again. */
  handleUnreachable(): void {
    if (this.phase === 'mapping') {
      this.#exchange = null;
      this.failed('unsupported', nothingListens(SERVER_PORT));
    } else if (this.phase === 'deleting') {
      this.#exchange = null;
      this.setPhase('idle');
    }
  }

  protected get isBusy(): boolean {
    return this.#exchange !== null;
  }

  protected get workDeadline(): Instant {
    return this.#exchange?.deadline ?? NEVER;
  }

  protected probe(now: Instant): void {
    this.setPhase('mapping');
    this.ask(now);
  }

  protected map(): void {
    // It has been asked for already.
  }

  protected ask(now: Instant): void {
    this.#exchange = new Exchange(() => this.#send(LIFETIME_S), now);
  }

  protected remove(now: Instant): void {
    this.#exchange = new Exchange(() => this.#send(0), now);
  }

  protected cancel(): void {
    this.#exchange = null;
  }

  protected handleWork(now: Instant): void {
    if (this.#exchange?.handleDeadline(now) !== 'over') return;
    this.#exchange = null;
    if (this.phase === 'mapping') this.failed('unsupported', noAnswer(SERVER_PORT));
    else if (this.phase === 'deleting') this.setPhase('idle');
    else this.postpone(now);
  }

  #send(lifetimeSeconds: number): void {
    const { local, port, outputs } = this.context;
    const any = { address: ANY[familyOf(local)], port: 0 };
    const wished = this.last ?? { ...any, port };
    const suggested = lifetimeSeconds === 0 ? any : wished;
    outputs.toServer(writePcpMap({ local, nonce: this.#nonce, port, lifetimeSeconds, suggested }));
  }

  #isOurs({ nonce, port }: PcpMapBody): boolean {
    return port === this.context.port && equalBytes(nonce, this.#nonce);
  }
}

/** Results that tell of a moment, not of a policy. */
const PASSING: readonly number[] = [PCP_RESULT.networkFailure, PCP_RESULT.noResources];

function explained(result: number): ['refused' | 'unsupported', string] {
  switch (result) {
    case PCP_RESULT.unsupportedVersion:
      return ['unsupported', 'the gateway speaks another version of PCP'];
    case PCP_RESULT.unsupportedOpcode:
    case PCP_RESULT.unsupportedProtocol:
      return ['unsupported', 'the gateway makes no mappings for UDP'];
    case PCP_RESULT.notAuthorized:
      return ['refused', 'its settings forbid mappings for this machine'];
    case PCP_RESULT.networkFailure:
      return ['refused', 'it has no connection outside itself at the moment'];
    case PCP_RESULT.noResources:
      return ['refused', 'it has no room for more mappings'];
    case PCP_RESULT.userExceededQuota:
      return ['refused', 'this machine has as many mappings as it may have'];
    case PCP_RESULT.cannotProvideExternal:
      return ['refused', 'it has no outer port to give'];
    case PCP_RESULT.addressMismatch:
      return ['refused', 'there is another NAT between this machine and it'];
    default:
      return ['refused', `it answered with PCP error ${result}`];
  }
}
