// A gateway that speaks PCP, NAT-PMP and UPnP as far as it is told to, and a machine before it, in virtual time. It reads requests by
// their offsets in the RFCs, not with the codecs under test, and keeps its mappings in one table, as real ones do.

import { ascii, readU16be, readU32be, writeU16be, writeU32be } from '../../../src/base/bytes.ts';
import { after, earliest, elapsedMs, type Instant, NEVER } from '../../../src/base/instant.ts';
import { addressBytes, formatAddress, type IpAddress } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { ANSWER_WAITS_MS } from '../../../src/path/portmap/exchange.ts';
import { GatewayMapping } from '../../../src/path/portmap/gateway-mapping.ts';
import type { PortMapProtocol, PortMapStatus } from '../../../src/path/portmap/mapping.ts';
import type { GatewayHttpAnswer, GatewayHttpRequest } from '../../../src/path/portmap/mapping-client.ts';
import { SEARCH_WAITS_MS } from '../../../src/path/portmap/upnp-client.ts';
import { readXml } from '../../../src/path/portmap/xml.ts';

export const PORT = 51_820;
const RTT_MS = 2;
/** More would be a machine that turns without getting anywhere. */
const STEPS_MAX = 20_000;

export interface FakeMapping {
  readonly by: PortMapProtocol;
  readonly port: number;
  readonly local: string;
  readonly until: number;
}

export class FakeGateway {
  /** 'older': knows NAT-PMP and says so. A number: the result of every MAP. */
  pcp: 'on' | 'silent' | 'older' | number = 'silent';
  natPmp: 'on' | 'silent' | 'newer' | number = 'silent';
  upnp: 'on' | 'silent' = 'silent';
  /** Nothing listens on the server's port. */
  closed = false;
  external = '203.0.113.9' as IpAddress;
  lifetimeMaxS = 86_400;
  serviceType = 'WANIPConnection:1';
  httpPort = 5000;
  /** UPnP errors for the next actions of a name. */
  faults: [action: string, code: number][] = [];
  /** Datagrams that are lost on the way to it, still. */
  lose = 0;
  bootedAt: Instant = 0 as Instant;
  readonly mappings = new Map<number, FakeMapping>();

  reboot(now: Instant): void {
    this.mappings.clear();
    this.bootedAt = now;
  }

  server(bytes: Uint8Array, now: Instant): Uint8Array | 'unreachable' | null {
    if (this.closed) return 'unreachable';
    if (this.lose > 0) {
      this.lose--;
      return null;
    }
    return bytes[0] === 2 ? this.#pcpAnswer(bytes, now) : this.#natPmpAnswer(bytes, now);
  }

  announcements(now: Instant): Uint8Array[] {
    const pcp = new Uint8Array(24);
    pcp.set([2, 128]);
    writeU32be(pcp, 8, this.#epoch(now));
    const told = [pcp, this.#natPmpAddress(now)];
    return told.filter((_, i) => (i === 0 ? this.pcp : this.natPmp) === 'on');
  }

  #epoch(now: Instant): number {
    return Math.floor(elapsedMs(this.bootedAt, now) / 1000);
  }

  #pcpAnswer(bytes: Uint8Array, now: Instant): Uint8Array | null {
    if (this.pcp === 'silent') return null;
    if (this.pcp === 'older') {
      const answer = new Uint8Array([0, 128 + (bytes[1] as number), 0, 1, 0, 0, 0, 0]);
      writeU32be(answer, 4, this.#epoch(now));
      return answer;
    }
    const answer = Uint8Array.from(bytes);
    answer[1] = 128 + (bytes[1] as number);
    answer.fill(0, 12, 24);
    writeU32be(answer, 8, this.#epoch(now));
    if (this.pcp !== 'on') {
      answer[3] = this.pcp;
      writeU32be(answer, 4, 30);
      return answer;
    }
    const local = formatAddress(bytes.slice(8, 24)).includes('::ffff')
      ? formatAddress(bytes.slice(20, 24))
      : formatAddress(bytes.slice(8, 24));
    const lifetime = Math.min(readU32be(bytes, 4), this.lifetimeMaxS);
    const port = readU16be(bytes, 40);
    writeU32be(answer, 4, lifetime);
    if (lifetime === 0) {
      this.#forget(port, local);
      return answer;
    }
    const isIpv6 = local.includes(':');
    const outer = isIpv6 ? port : this.#add('pcp', readU16be(bytes, 42), port, local, lifetime, now);
    if (isIpv6) this.mappings.set(port, { by: 'pcp', port, local, until: after(now, lifetime * 1000) });
    writeU16be(answer, 42, outer);
    answer.fill(0, 44, 60);
    if (isIpv6) answer.set(bytes.subarray(8, 24), 44);
    else answer.set([0xff, 0xff, ...addressBytes(this.external)], 54);
    return answer;
  }

  #natPmpAddress(now: Instant): Uint8Array {
    const answer = new Uint8Array(12);
    answer[1] = 128;
    writeU32be(answer, 4, this.#epoch(now));
    answer.set(addressBytes(this.external), 8);
    return answer;
  }

  #natPmpAnswer(bytes: Uint8Array, now: Instant): Uint8Array | null {
    if (this.natPmp === 'silent') return null;
    if (this.natPmp === 'newer') {
      const answer = new Uint8Array(24);
      answer.set([2, 128 + (bytes[1] as number), 0, 1]);
      return answer;
    }
    if (this.natPmp !== 'on') {
      const answer = new Uint8Array([0, 128 + (bytes[1] as number), 0, this.natPmp, 0, 0, 0, 0, 0, 0, 0, 0]);
      writeU32be(answer, 4, this.#epoch(now));
      return answer;
    }
    if (bytes[1] === 0) return this.#natPmpAddress(now);
    const answer = new Uint8Array(16);
    answer[1] = 129;
    writeU32be(answer, 4, this.#epoch(now));
    const port = readU16be(bytes, 4);
    const lifetime = Math.min(readU32be(bytes, 8), this.lifetimeMaxS);
    writeU16be(answer, 8, port);
    writeU32be(answer, 12, lifetime);
    if (lifetime === 0) this.#forget(port, LOCAL);
    else writeU16be(answer, 10, this.#add('natpmp', readU16be(bytes, 6), port, LOCAL, lifetime, now));
    return answer;
  }

  search(bytes: Uint8Array, to: IpAddress): Uint8Array | null {
    const text = String.fromCharCode(...bytes);
    // As many do: only what is sent to the group is answered, and only for the first version.
    if (this.upnp !== 'on' || to !== '239.255.255.250' || !text.includes('InternetGatewayDevice:1')) return null;
    const location = `http://${GATEWAY}:${this.httpPort}/desc.xml`;
    return ascii(
      `HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: ${location}\r\n\r\n`,
    );
  }

  http(request: GatewayHttpRequest, now: Instant): GatewayHttpAnswer {
    if (this.upnp !== 'on' || request.port !== this.httpPort) return { ok: false, why: 'nothing listens there' };
    if (request.method === 'GET') {
      const type = `urn:schemas-upnp-org:service:${this.serviceType}`;
      const body = `<root><device><serviceList><service><serviceType>${type}</serviceType><controlURL>/ctl</controlURL></service></serviceList></device></root>`;
      return { ok: true, status: 200, body };
    }
    const action = /#([A-Za-z]+)"$/.exec(request.headers['SOAPAction'] ?? '')?.[1] ?? '';
    const fault = this.faults.findIndex(([name]) => name === action);
    if (fault >= 0) {
      const [[, code]] = this.faults.splice(fault, 1) as [[string, number]];
      return { ok: true, status: 500, body: `<e><errorCode>${code}</errorCode></e>` };
    }
    const values = new Map([...readXml(request.body)].map(({ name, text }) => [name, text]));
    return {
      ok: true,
      status: 200,
      body: `<r><${action}Response>${this.#act(action, values, now)}</${action}Response></r>`,
    };
  }

  #act(action: string, values: ReadonlyMap<string, string>, now: Instant): string {
    if (action === 'GetExternalIPAddress') return `<NewExternalIPAddress>${this.external}</NewExternalIPAddress>`;
    const outer = Number(values.get('NewExternalPort'));
    if (action === 'DeletePortMapping') {
      this.mappings.delete(outer);
      return '';
    }
    const lease = Number(values.get('NewLeaseDuration'));
    const port = Number(values.get('NewInternalPort'));
    const local = values.get('NewInternalClient') ?? '';
    const given = this.#add('upnp', outer, port, local, lease, now);
    return action === 'AddAnyPortMapping' ? `<NewReservedPort>${given}</NewReservedPort>` : '';
  }

  #add(by: PortMapProtocol, wanted: number, port: number, local: string, lifetimeS: number, now: Instant): number {
    let outer = wanted === 0 ? port : wanted;
    while (this.mappings.has(outer) && this.mappings.get(outer)?.local !== local) outer++;
    const until = lifetimeS === 0 ? NEVER : after(now, lifetimeS * 1000);
    this.mappings.set(outer, { by, port, local, until });
    return outer;
  }

  #forget(port: number, local: string): void {
    for (const [outer, one] of this.mappings) {
      if (one.port === port && one.local === local) this.mappings.delete(outer);
    }
  }
}

export const GATEWAY = '192.168.1.1' as IpAddress;
export const LOCAL = '192.168.1.2' as IpAddress;

interface Sent {
  readonly at: Instant;
  /** `pcp`, `pcp delete`, `natpmp address`, `natpmp map`, `natpmp delete`, `search`, `get`, or a name of an action. */
  readonly what: string;
}

export class Rig {
  readonly gateway = new FakeGateway();
  readonly machine: GatewayMapping;
  readonly sent: Sent[] = [];
  now: Instant = 1_000_000 as Instant;
  changes = 0;
  wakeups = 0;
  searching = false;
  /** Of HTTP. */
  httpMs = 20;
  #events: { readonly at: Instant; readonly work: () => void }[] = [];

  constructor({ gateway = GATEWAY, local = LOCAL, seed = 1 } = {}) {
    const prng = new Prng(seed);
    this.machine = new GatewayMapping({
      gateway,
      local,
      port: PORT,
      random: (out) => prng.fill(out),
      outputs: {
        toServer: (bytes) => this.#toServer(bytes),
        search: (bytes, to) => {
          this.searching = true;
          this.#note('search');
          const answer = this.gateway.search(bytes, to);
          // A device may take up to a second.
          if (answer !== null) this.later(100, () => this.machine.handleSearchAnswer(answer, this.now));
        },
        searchOver: () => {
          this.searching = false;
        },
        http: (id, request) => {
          this.#note(/#([A-Za-z]+)"$/.exec(request.headers['SOAPAction'] ?? '')?.[1] ?? 'get');
          const answer = this.gateway.http(request, this.now);
          this.later(this.httpMs, () => this.machine.handleHttp(id, answer, this.now));
        },
        changed: () => {
          this.changes++;
        },
      },
    });
  }

  refresh(): void {
    this.machine.refresh(this.now);
  }

  announce(): void {
    for (const bytes of this.gateway.announcements(this.now)) this.machine.handleAnnouncement(bytes, this.now);
  }

  later(ms: number, work: () => void): void {
    const at = after(this.now, ms);
    this.#events.push({ at, work });
    this.#events.sort((a, b) => a.at - b.at);
  }

  /** Lets so much virtual time pass. */
  run(ms: number): void {
    const end = after(this.now, ms);
    for (let steps = 0; ; steps++) {
      if (steps > STEPS_MAX) throw new Error('the machine turns without getting anywhere');
      const event = this.#events[0];
      const next = earliest(event?.at ?? NEVER, this.machine.deadline);
      if (next > end) break;
      this.now = next > this.now ? next : this.now;
      if (event !== undefined && event.at <= this.now) {
        this.#events.shift();
        event.work();
      } else {
        this.wakeups++;
        this.machine.handleDeadline(this.now);
      }
    }
    this.now = end;
  }

  /** Lets time pass until `done`; fails after `ms`. Gives how long it took. */
  until(done: () => boolean, ms: number): number {
    const from = this.now;
    while (!done()) {
      if (this.now - from >= ms) throw new Error(`not within ${ms} ms: ${JSON.stringify(this.machine.status)}`);
      this.run(1);
    }
    return this.now - from;
  }

  get endpoints(): readonly string[] {
    return this.machine.mappings.map(({ protocol, endpoint }) => `${protocol} ${endpoint}`);
  }

  get isMapped(): boolean {
    return this.machine.mappings.length > 0;
  }

  status(protocol: PortMapProtocol): PortMapStatus {
    return this.machine.status.find((one) => one.protocol === protocol) as PortMapStatus;
  }

  /** What was sent since the last call. */
  take(): string[] {
    return this.sent.splice(0).map(({ what }) => what);
  }

  #note(what: string): void {
    this.sent.push({ at: this.now, what });
  }

  #toServer(bytes: Uint8Array): void {
    if (bytes[0] === 2) this.#note(readU32be(bytes, 4) === 0 ? 'pcp delete' : 'pcp');
    else if (bytes[1] === 0) this.#note('natpmp address');
    else this.#note(readU32be(bytes, 8) === 0 ? 'natpmp delete' : 'natpmp map');
    const answer = this.gateway.server(bytes, this.now);
    if (answer === 'unreachable') this.later(RTT_MS, () => this.machine.handleServerUnreachable(this.now));
    else if (answer !== null) this.later(RTT_MS, () => this.machine.handleServer(answer, this.now));
  }
}

export const GIVEN_UP_MS = ANSWER_WAITS_MS.reduce((sum, ms) => sum + ms, 0);
export const SEARCHED_MS = SEARCH_WAITS_MS.reduce((sum, ms) => sum + ms, 0);

export type Setting = 'pcp' | 'natpmp' | 'upnp';

export function speaking(...protocols: readonly Setting[]): Rig {
  const rig = new Rig();
  if (protocols.includes('pcp')) rig.gateway.pcp = 'on';
  if (protocols.includes('natpmp')) rig.gateway.natPmp = 'on';
  if (protocols.includes('upnp')) rig.gateway.upnp = 'on';
  return rig;
}

export function mapped(...protocols: readonly Setting[]): Rig {
  const rig = speaking(...protocols);
  rig.refresh();
  rig.until(() => rig.isMapped, 2_000);
  rig.run(GIVEN_UP_MS + SEARCHED_MS);
  rig.take();
  return rig;
}
