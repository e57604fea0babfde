// Whatever a gateway, or somebody in its name, sends: no parser throws or hangs, what comes out is of the kind it says, and the machine
// neither turns in place nor grows nor can be made to talk much.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ascii } from '../../../src/base/bytes.ts';
import type { Instant } from '../../../src/base/instant.ts';
import { endpointParts, type IpAddress, parseAddress, parseEndpoint } from '../../../src/base/ip.ts';
import { type IgdAction, readServices, readSoap, SERVICES_MAX, writeSoap } from '../../../src/path/portmap/igd.ts';
import { readNatPmp } from '../../../src/path/portmap/nat-pmp.ts';
import { isPublicAddress } from '../../../src/path/portmap/outer-address.ts';
import { readPcp, writePcpMap } from '../../../src/path/portmap/pcp.ts';
import { type GatewayPlace, readSearchAnswer, resolvePlace } from '../../../src/path/portmap/ssdp.ts';
import { readXml, TAGS_MAX, TEXT_MAX } from '../../../src/path/portmap/xml.ts';
import { GATEWAY, LOCAL, PORT, Rig } from './portmap-rig.ts';

const RUNS = 2_000;
const bytes = fc.uint8Array({ maxLength: 1_200 });
const address = fc
  .tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255))
  .map((parts) => parts.join('.') as IpAddress);

/** Something like an answer: a good one with some bytes changed, and its end cut off or made longer. */
const mangled = (good: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc
    .tuple(
      good,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
      fc.nat(20),
      fc.uint8Array({ maxLength: 8 }),
    )
    .map(([whole, changes, cut, more]) => {
      const changed = Uint8Array.from([
        ...whole.subarray(0, Math.max(0, whole.length - (cut > 12 ? cut : 0))),
        ...more,
      ]);
      for (const [at, value] of changes) if (changed.length > 0) changed[at % changed.length] = value;
      return changed;
    });

const pcp = fc
  .record({
    local: address,
    suggested: address,
    port: fc.nat(65_535),
    outer: fc.nat(65_535),
    lifetime: fc.nat(),
    opcode: fc.constantFrom(128, 129),
    result: fc.nat(14),
  })
  .map(({ local, suggested, port, outer, lifetime, opcode, result }) => {
    const nonce = new Uint8Array(12).fill(port & 255);
    const message = writePcpMap({
      local,
      nonce,
      port,
      lifetimeSeconds: lifetime,
      suggested: { address: suggested, port: outer },
    });
    message[1] = opcode;
    message[3] = result;
    return message;
  });
const natPmp = fc
  .tuple(fc.constantFrom(128, 129, 130), fc.nat(6), fc.uint8Array({ minLength: 12, maxLength: 12 }))
  .map(([opcode, result, rest]) => Uint8Array.from([0, opcode, 0, result, ...rest]));

const xmlPiece = fc.constantFrom(
  ...[
    '<',
    '>',
    '</',
    '/>',
    '<!--',
    '-->',
    '<![CDATA[',
    ']]>',
    '<?',
    '?>',
    '<!',
    '[',
    ']>',
    '&',
    ';',
    '#',
    'amp',
    '&#x41;',
    ' ',
    '\n',
  ],
  ...[
    'service',
    'serviceType',
    'controlURL',
    'URLBase',
    'errorCode',
    'AddPortMappingResponse',
    'u:',
    'NewReservedPort',
    '718',
  ],
  ...[
    'urn:schemas-upnp-org:service:WANIPConnection:1',
    'http://192.168.1.1:5000/x',
    'http://192.168.1.66/',
    '/ctl',
    'é',
  ],
);
const xml = fc.oneof(
  fc.array(xmlPiece, { maxLength: 200 }).map((pieces) => pieces.join('')),
  fc.string({ maxLength: 500 }),
);

const isPlace = ({ port, path }: GatewayPlace): boolean =>
  port >= 1 && port <= 65_535 && /^\/[!-~]*$/.test(path) && path.length <= 512;

describe('a parser', () => {
  test('of PCP gives what fits its fields, or nothing', () => {
    fc.assert(
      fc.property(fc.oneof(bytes, mangled(pcp)), (datagram) => {
        const read = readPcp(datagram);
        if (read === null) return;
        expect(datagram[0]).toBe(2);
        expect(read.lifetimeSeconds).toBeLessThanOrEqual(0xffff_ffff);
        if (read.map === null) return;
        expect(parseAddress(read.map.external.address)).toBe(read.map.external.address);
        expect(read.map.external.port).toBeLessThanOrEqual(65_535);
        expect(read.map.nonce).toHaveLength(12);
      }),
      { numRuns: RUNS },
    );
  });

  test('of NAT-PMP gives what fits its fields, or nothing', () => {
    fc.assert(
      fc.property(fc.oneof(bytes, mangled(natPmp)), (datagram) => {
        const read = readNatPmp(datagram);
        if (read?.kind === 'address') expect(parseAddress(read.address)).toBe(read.address);
        if (read?.kind === 'map') expect(read.externalPort).toBeLessThanOrEqual(65_535);
        if (read?.kind === 'error') expect(read.result).toBeGreaterThan(0);
      }),
      { numRuns: RUNS },
    );
  });

  test('of search answers gives places at the gateway, or nothing', () => {
    const line = fc.constantFrom(
      ...[
        'HTTP/1.1 200 OK',
        'ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1',
        'LOCATION: http://192.168.1.1:5000/d',
      ],
      ...['LOCATION: http://192.168.1.66/', 'LOCATION:', ':', '', 'ST', 'location: http://192.168.1.1:99999/'],
    );
    const text = fc
      .array(fc.oneof(line, fc.string({ maxLength: 40 })), { maxLength: 12 })
      .map((lines) => ascii(lines.join('\r\n')));
    fc.assert(
      fc.property(fc.oneof(bytes, text, mangled(text)), (datagram) => {
        const place = readSearchAnswer(datagram, GATEWAY);
        expect(place === null || isPlace(place)).toBe(true);
      }),
      { numRuns: RUNS },
    );
  });

  test('of references gives places that fit into a request line, or nothing', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 700 }), fc.webUrl(), (text, url) => {
        for (const reference of [text, url, `/${text}`, `http://${GATEWAY}/${text}`]) {
          const place = resolvePlace(reference, { port: 80, path: '/a/b?c' }, GATEWAY);
          expect(place === null || isPlace(place)).toBe(true);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test('of XML ends, and keeps to its limits', () => {
    fc.assert(
      fc.property(xml, (text) => {
        let tags = 0;
        for (const tag of readXml(text)) {
          tags++;
          expect(tag.text.length).toBeLessThanOrEqual(TEXT_MAX);
        }
        expect(tags).toBeLessThanOrEqual(text.length);
      }),
      { numRuns: RUNS },
    );
  });

  test('of XML is not slow at the worst that fits into a description', () => {
    const worst = ['<', '<!', '<!--', '<![CDATA[', '<?', '<a>', '</', '&#', '<a/>', '<!x['];
    for (const piece of worst) {
      const text = piece.repeat(Math.ceil(65_536 / piece.length));
      const from = performance.now();
      expect([...readXml(text)].length).toBeLessThanOrEqual(2 * TAGS_MAX);
      expect(performance.now() - from, piece).toBeLessThan(2_000);
    }
  });

  test('of descriptions and answers gives services at the gateway and numbers', () => {
    const action: IgdAction = { name: 'AddPortMapping', externalPort: 1, local: LOCAL, port: 2, leaseSeconds: 3 };
    fc.assert(
      fc.property(xml, fc.nat(600), (text, status) => {
        const services = readServices(text, { port: 80, path: '/d' }, GATEWAY);
        expect(services.length).toBeLessThanOrEqual(SERVICES_MAX);
        for (const service of services) {
          expect(isPlace(service.control)).toBe(true);
          // What goes into a header and into XML.
          expect(service.type).toMatch(/^[a-zA-Z0-9:-]+$/);
          expect(writeSoap(service, action)).toContain(service.type);
        }
        const answer = readSoap(action, status, text);
        if (!answer.ok && answer.error !== null) expect(answer.error).toBeLessThan(10_000);
      }),
      { numRuns: RUNS },
    );
  });
});

describe('the machine', () => {
  const HOUR_MS = 3_600_000;
  /** Far above what an hour of the worst gateway may cost, far below a stream. */
  const SENT_PER_HOUR_MAX = 4_000;

  type Step =
    | { readonly kind: 'server' | 'announcement' | 'search'; readonly bytes: Uint8Array }
    | { readonly kind: 'http'; readonly body: string; readonly status: number }
    | { readonly kind: 'pass'; readonly ms: number }
    | { readonly kind: 'unreachable' | 'refresh' | 'announce' | 'reboot' }
    | {
        readonly kind: 'become';
        readonly pcp: number;
        readonly natPmp: number;
        readonly upnp: boolean;
        readonly lifetime: number;
      };

  const datagram = fc.oneof(bytes, mangled(pcp), mangled(natPmp));
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constantFrom('server', 'announcement', 'search'), bytes: datagram }),
    fc.record({ kind: fc.constant('http' as const), body: xml, status: fc.constantFrom(200, 404, 500) }),
    fc.record({ kind: fc.constant('pass' as const), ms: fc.constantFrom(0, 1, 100, 3_000, 60_000, HOUR_MS / 2) }),
    fc.record({ kind: fc.constantFrom('unreachable', 'refresh', 'announce', 'reboot') }),
    fc.record({
      kind: fc.constant('become' as const),
      pcp: fc.nat(14),
      natPmp: fc.nat(6),
      upnp: fc.boolean(),
      lifetime: fc.constantFrom(0, 1, 60, 100, 86_400),
    }),
  );

  function take(rig: Rig, one: Step): void {
    const { machine, gateway } = rig;
    switch (one.kind) {
      case 'server':
        machine.handleServer(one.bytes, rig.now);
        break;
      case 'announcement':
        machine.handleAnnouncement(one.bytes, rig.now);
        break;
      case 'search':
        machine.handleSearchAnswer(one.bytes, rig.now);
        break;
      case 'http':
        // Whichever is under way.
        for (let id = 1; id < 20; id++)
          machine.handleHttp(id, { ok: true, status: one.status, body: one.body }, rig.now);
        break;
      case 'pass':
        rig.run(one.ms);
        break;
      case 'unreachable':
        machine.handleServerUnreachable(rig.now);
        break;
      case 'refresh':
        rig.refresh();
        break;
      case 'announce':
        rig.announce();
        break;
      case 'reboot':
        gateway.reboot(rig.now);
        break;
      case 'become':
        gateway.pcp = one.pcp === 0 ? 'on' : one.pcp === 1 ? 'older' : one.pcp > 12 ? 'silent' : one.pcp;
        gateway.natPmp = one.natPmp === 0 ? 'on' : one.natPmp === 1 ? 'newer' : one.natPmp > 5 ? 'silent' : one.natPmp;
        gateway.upnp = one.upnp ? 'on' : 'silent';
        gateway.lifetimeMaxS = one.lifetime;
        break;
    }
  }

  test('stands whatever comes, offers only what others can use, and ends when it is told to', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(), (steps, seed) => {
        const rig = new Rig({ seed });
        const from = rig.now;
        rig.refresh();
        for (const one of steps) {
          take(rig, one);
          expect(rig.machine.deadline).toBeGreaterThanOrEqual(0);
          expect(rig.machine.mappings.length).toBeLessThanOrEqual(3);
          for (const { endpoint, expiresAt } of rig.machine.mappings) {
            expect(parseEndpoint(endpoint)).toBe(endpoint);
            expect(isPublicAddress(endpointParts(endpoint).address)).toBe(true);
            expect(expiresAt).toBeGreaterThan(0);
          }
        }
        const hours = (rig.now - from) / HOUR_MS;
        expect(rig.sent.length).toBeLessThan(SENT_PER_HOUR_MAX * (hours + 1) + 30 * steps.length);
        rig.machine.end(rig.now);
        rig.run(1_000);
        expect(rig.machine.isEnded).toBe(true);
        expect(rig.machine.deadline).toBe(Number.POSITIVE_INFINITY);
      }),
      { numRuns: 300 },
    );
  });

  test('finds its way back to a good gateway after anything', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), fc.nat(), (steps, seed) => {
        const rig = new Rig({ seed });
        rig.refresh();
        for (const one of steps) take(rig, one);
        Object.assign(rig.gateway, { pcp: 'on', natPmp: 'on', upnp: 'on', lifetimeMaxS: 86_400, closed: false });
        // What is under way comes to its end; then the network changes once.
        rig.run(60_000);
        rig.refresh();
        rig.run(60_000);
        // A mapping that was made from lies stands until its renewal; what matters is that the true one is there in time.
        rig.run(24 * HOUR_MS);
        expect(
          [...rig.gateway.mappings.values()].some(({ port, until }) => port === PORT && until > (rig.now as Instant)),
        ).toBe(true);
        expect(rig.isMapped).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});
