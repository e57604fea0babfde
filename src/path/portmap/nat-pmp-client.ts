// NAT-PMP's part (RFC 6886 §3): the gateway's outer address is the question whether it speaks the protocol, and comes before each
// mapping and each renewal, because the answer to a mapping names the port alone.

import { type Instant, NEVER } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import { Exchange } from './exchange.ts';
import { LIFETIME_S } from './lease.ts';
import { MappingClient, noAnswer, nothingListens } from './mapping-client.ts';
import { NAT_PMP_RESULT, type NatPmpResponse, writeNatPmpAddress, writeNatPmpMap } from './nat-pmp.ts';
import { isUnspecified } from './outer-address.ts';
import { SERVER_PORT } from './pcp.ts';

/** A gateway without an address outside is likely to get one. */
const NO_ADDRESS_RETRY_MS = 60_000;

export class NatPmpClient extends MappingClient {
  readonly protocol = 'natpmp';
  #exchange: Exchange | null = null;
  #asked: 'address' | 'map' = 'address';
  #address: IpAddress | null = null;

  /** False: it answers nothing that was asked. */
  handleResponse(response: NatPmpResponse, now: Instant): boolean {
    if (this.#exchange === null) return false;
    if (this.phase === 'deleting') return this.#deleted(response);
    switch (response.kind) {
      case 'address':
        if (this.#asked !== 'address') return false;
        this.#exchange = null;
        this.#found(response.address, now);
        return true;
      case 'map':
        if (this.#asked !== 'map' || this.#address === null || response.port !== this.context.port) return false;
        this.#exchange = null;
        this.granted({ address: this.#address, port: response.externalPort }, response.lifetimeSeconds, false, now);
        return true;
      case 'error':
        // Unsupported version is said to PCP, and to nobody of version 0.
        if (response.to !== this.#asked || response.result === NAT_PMP_RESULT.unsupportedVersion) return false;
        this.#exchange = null;
        this.#refused(response.result);
        return true;
    }
  }

  /** The gateway said, in PCP's words, that it does not know this version. */
  handleOtherVersion(): void {
    if (this.phase !== 'probing') return;
    this.#exchange = null;
    this.failed('unsupported', 'the gateway speaks PCP, which is newer');
  }

  /** ICMP said that nobody listens. While a mapping lives the gateway may just be starting again. */
  handleUnreachable(): void {
    if (this.phase === 'probing' || this.phase === 'mapping') {
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
    this.setPhase('probing');
    this.ask(now);
  }

  protected map(now: Instant): void {
    this.setPhase('mapping');
    this.#askForPort(now);
  }

  protected ask(now: Instant): void {
    this.#asked = 'address';
    this.#exchange = new Exchange(() => this.context.outputs.toServer(writeNatPmpAddress()), now);
  }

  protected remove(now: Instant): void {
    const { port, outputs } = this.context;
    const bytes = (): Uint8Array => writeNatPmpMap({ port, wantedPort: 0, lifetimeSeconds: 0 });
    this.#exchange = new Exchange(() => outputs.toServer(bytes()), now);
  }

  protected cancel(): void {
    this.#exchange = null;
  }

  protected handleWork(now: Instant): void {
    if (this.#exchange?.handleDeadline(now) !== 'over') return;
    this.#exchange = null;
    if (this.phase === 'deleting') this.setPhase('idle');
    else if (this.phase === 'mapped') this.postpone(now);
    else this.failed('unsupported', noAnswer(SERVER_PORT));
  }

  #found(address: IpAddress, now: Instant): void {
    if (isUnspecified(address)) {
      this.#refused(NAT_PMP_RESULT.networkFailure);
      return;
    }
    this.#address = address;
    if (this.phase === 'mapped') this.#askForPort(now);
    else this.setPhase('found');
  }

  #askForPort(now: Instant): void {
    const { port, outputs } = this.context;
    const wantedPort = this.last?.port ?? port;
    const bytes = (): Uint8Array => writeNatPmpMap({ port, wantedPort, lifetimeSeconds: LIFETIME_S });
    this.#asked = 'map';
    this.#exchange = new Exchange(() => outputs.toServer(bytes()), now);
  }

  #deleted(response: NatPmpResponse): boolean {
    // A mapping with a lifetime answers what was asked before.
    if (response.kind === 'address' || (response.kind === 'map' && response.lifetimeSeconds > 0)) return false;
    this.#exchange = null;
    this.setPhase('idle');
    return true;
  }

  #refused(result: number): void {
    switch (result) {
      case NAT_PMP_RESULT.notAuthorized:
        this.failed('refused', 'its settings forbid mappings for this machine');
        break;
      case NAT_PMP_RESULT.networkFailure:
        this.failed('refused', 'it has no address outside itself at the moment', NO_ADDRESS_RETRY_MS);
        break;
      case NAT_PMP_RESULT.outOfResources:
        this.failed('refused', 'it has no room for more mappings', NO_ADDRESS_RETRY_MS);
        break;
      case NAT_PMP_RESULT.unsupportedOpcode:
        this.failed('unsupported', 'the gateway makes no mappings for UDP');
        break;
      default:
        this.failed('refused', `it answered with NAT-PMP error ${result}`);
    }
  }
}
