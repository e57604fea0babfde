// What is read of a UPnP gateway, good and bad: its answer to a search, its description, its answers to actions. And what it may not
// have us do: ask somebody else.

import { describe, expect, test } from 'vitest';
import { ascii } from '../../../src/base/bytes.ts';
import type { IpAddress } from '../../../src/base/ip.ts';
import {
  externalAddressOf,
  type IgdAction,
  readServices,
  readSoap,
  reservedPortOf,
  SERVICES_MAX,
  soapAction,
  writeSoap,
} from '../../../src/path/portmap/igd.ts';
import { readPlace, readSearchAnswer, resolvePlace, writeSearch } from '../../../src/path/portmap/ssdp.ts';
import { readXml } from '../../../src/path/portmap/xml.ts';

const GATEWAY = '192.168.1.1' as IpAddress;
const BASE = { port: 5000, path: '/igd/desc.xml' };
const IGD = 'urn:schemas-upnp-org:device:InternetGatewayDevice:1';

const answer = (...headers: readonly string[]): Uint8Array =>
  ascii(['HTTP/1.1 200 OK', 'EXT:', ...headers, '', ''].join('\r\n'));

describe('a search', () => {
  test('is an M-SEARCH with an empty line at its end', () => {
    const text = String.fromCharCode(...writeSearch(IGD, '239.255.255.250' as IpAddress));
    expect(text.split('\r\n')).toEqual([
      'M-SEARCH * HTTP/1.1',
      'HOST: 239.255.255.250:1900',
      'MAN: "ssdp:discover"',
      'MX: 1',
      `ST: ${IGD}`,
      '',
      '',
    ]);
  });

  test('is answered by where the description is', () => {
    const bytes = answer(`ST: ${IGD}`, 'LOCATION: http://192.168.1.1:5000/rootDesc.xml?a=1');
    expect(readSearchAnswer(bytes, GATEWAY)).toEqual({ port: 5000, path: '/rootDesc.xml?a=1' });
  });

  test('is answered in any case and with bare line feeds', () => {
    const text = `HTTP/1.0 200 OK\nlocation:http://192.168.1.1/d\nst:  ${IGD.toUpperCase().replace('URN', 'urn')}\n\n`;
    expect(readSearchAnswer(ascii(text), GATEWAY)).toEqual({ port: 80, path: '/d' });
  });

  test.each([
    ['another address', answer(`ST: ${IGD}`, 'LOCATION: http://192.168.1.66:5000/d')],
    ['a name', answer(`ST: ${IGD}`, 'LOCATION: http://router.local/d')],
    ['a name that begins like the address', answer(`ST: ${IGD}`, 'LOCATION: http://192.168.1.1.evil.example/d')],
    ['a user part', answer(`ST: ${IGD}`, 'LOCATION: http://192.168.1.1@192.168.1.66/d')],
    ['another spelling of the address', answer(`ST: ${IGD}`, 'LOCATION: http://3232235777/d')],
    ['https', answer(`ST: ${IGD}`, 'LOCATION: https://192.168.1.1/d')],
    ['file', answer(`ST: ${IGD}`, 'LOCATION: file:///etc/passwd')],
    ['port 0', answer(`ST: ${IGD}`, 'LOCATION: http://192.168.1.1:0/d')],
    ['port 65536', answer(`ST: ${IGD}`, 'LOCATION: http://192.168.1.1:65536/d')],
    ['a blank in the path', answer(`ST: ${IGD}`, 'LOCATION: http://192.168.1.1/a b')],
    ['a path without an end', answer(`ST: ${IGD}`, `LOCATION: http://192.168.1.1/${'a'.repeat(600)}`)],
    [
      'something that is no gateway',
      answer('ST: urn:schemas-upnp-org:device:MediaServer:1', 'LOCATION: http://192.168.1.1/d'),
    ],
    ['no location', answer(`ST: ${IGD}`)],
    ['another status', ascii(`HTTP/1.1 404 Not Found\r\nST: ${IGD}\r\nLOCATION: http://192.168.1.1/d\r\n\r\n`)],
    ['an announcement', ascii(`NOTIFY * HTTP/1.1\r\nST: ${IGD}\r\nLOCATION: http://192.168.1.1/d\r\n\r\n`)],
    ['too much', answer(`ST: ${IGD}`, 'LOCATION: http://192.168.1.1/d', `X: ${'x'.repeat(3000)}`)],
  ])('is not answered by %s', (_what, bytes) => {
    expect(readSearchAnswer(bytes, GATEWAY)).toBeNull();
  });
});

describe('a reference in a description', () => {
  test.each([
    ['/ctl', { port: 5000, path: '/ctl' }],
    ['ctl?x=1', { port: 5000, path: '/igd/ctl?x=1' }],
    ['http://192.168.1.1:49000/ctl', { port: 49_000, path: '/ctl' }],
    ['http://192.168.1.1', { port: 80, path: '/' }],
    ['/ctl#part', { port: 5000, path: '/ctl' }],
  ])('%s', (reference, place) => {
    expect(resolvePlace(reference, BASE, GATEWAY)).toEqual(place);
  });

  test.each(['', 'http://192.168.1.66/ctl', '//192.168.1.66/ctl', 'javascript:1', 'a b', 'c\r\nX: y', 'ünder'])(
    'leads nowhere: %j',
    (reference) => {
      expect(resolvePlace(reference, BASE, GATEWAY)).toBeNull();
    },
  );

  test('an address is the gateway only in its own spelling', () => {
    expect(readPlace('http://192.168.001.1/', GATEWAY)).toBeNull();
  });
});

describe('XML', () => {
  const tags = (xml: string): string[] =>
    [...readXml(xml)].map(({ kind, name, text }) => `${kind} ${name} ${text}`.trim());

  test('is its tags by local name and the text of the innermost', () => {
    expect(tags('<a:x b="c"><y>1 &amp; 2</y><z/></a:x>')).toEqual([
      'open x',
      'open y',
      'close y 1 & 2',
      'open z',
      'close z',
      'close x',
    ]);
  });

  test('references are characters, and only those of XML', () => {
    expect(tags('<a>&lt;&gt;&quot;&apos;&#65;&#x42;&nbsp;&#0;&#xd800;&#x110000;</a>')[1]).toBe(
      `close a <>"'AB&nbsp;&#0;&#xd800;&#x110000;`,
    );
  });

  test('comments, instructions and declarations are nothing, and no entity is taken from them', () => {
    const xml = `<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY y "&x;&x;">]><!-- <b> --><a>&x;&y;</a>`;
    expect(tags(xml)).toEqual(['open a', 'close a &x;&y;']);
  });

  test('CDATA is text as it stands', () => {
    expect(tags('<a><![CDATA[<b>&amp;</b>]]></a>')).toEqual(['open a', 'close a <b>&amp;</b>']);
  });

  test.each(['<a', '<', '</', '<a></a', '<!-- ', '<![CDATA[', '<?', '<!', '<!x[', '&#;<a>&</a>', '>', '<>', '</>'])(
    'that is broken ends: %s',
    (xml) => {
      expect(tags(xml).length).toBeLessThan(4);
    },
  );
});

const service = (type: string, control: string): string =>
  `<service><serviceType>urn:schemas-upnp-org:service:${type}</serviceType><serviceId>x</serviceId>
   <controlURL>${control}</controlURL><eventSubURL>/e</eventSubURL></service>`;

const description = (...services: readonly string[]): string =>
  `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceList><device>
   <serviceList>${services.join('')}</serviceList></device></deviceList></device></root>`;

describe('a description', () => {
  test('has the services that map ports, the best first', () => {
    const text = description(
      service('WANCommonInterfaceConfig:1', '/common'),
      service('WANPPPConnection:1', '/ppp'),
      service('WANIPConnection:1', '/ip1'),
      service('WANIPConnection:2', 'ip2'),
    );
    expect(readServices(text, BASE, GATEWAY)).toEqual([
      { type: 'urn:schemas-upnp-org:service:WANIPConnection:2', control: { port: 5000, path: '/igd/ip2' } },
      { type: 'urn:schemas-upnp-org:service:WANIPConnection:1', control: { port: 5000, path: '/ip1' } },
      { type: 'urn:schemas-upnp-org:service:WANPPPConnection:1', control: { port: 5000, path: '/ppp' } },
    ]);
  });

  test('of the old kind names what relative references stand against', () => {
    const text = `<root><URLBase>http://192.168.1.1:49152/x/</URLBase>${service('WANIPConnection:1', 'ctl')}</root>`;
    expect(readServices(text, BASE, GATEWAY)[0]?.control).toEqual({ port: 49_152, path: '/x/ctl' });
  });

  test('cannot send us elsewhere', () => {
    const away = `<root><URLBase>http://192.168.1.66/</URLBase>${service('WANIPConnection:1', '/ctl')}</root>`;
    expect(readServices(away, BASE, GATEWAY)[0]?.control).toEqual({ port: 5000, path: '/ctl' });
    const text = description(service('WANIPConnection:1', 'http://192.168.1.66/ctl'));
    expect(readServices(text, BASE, GATEWAY)).toEqual([]);
  });

  test('with many services is read to a limit', () => {
    const many = Array.from({ length: 50 }, (_, i) => service('WANIPConnection:1', `/${i}`));
    expect(readServices(description(...many), BASE, GATEWAY)).toHaveLength(SERVICES_MAX);
  });

  test('an element of one service is none of the next', () => {
    const text = description(
      '<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType></service>',
      '<service><controlURL>/x</controlURL></service>',
    );
    expect(readServices(text, BASE, GATEWAY)).toEqual([]);
  });
});

const SERVICE = { type: 'urn:schemas-upnp-org:service:WANIPConnection:1', control: BASE };
const ADD: IgdAction = {
  name: 'AddPortMapping',
  externalPort: 40_000,
  local: '192.168.1.2' as IpAddress,
  port: 51_820,
  leaseSeconds: 7200,
};
const soap = (inner: string): string =>
  `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>${inner}</s:Body></s:Envelope>`;
const fault = (code: number): string =>
  soap(
    `<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError><errorCode>${code}</errorCode></UPnPError></detail></s:Fault>`,
  );

describe('an action', () => {
  test('has its arguments in the order of the specification', () => {
    expect(soapAction(SERVICE, ADD)).toBe('"urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping"');
    const names = [...readXml(writeSoap(SERVICE, ADD))]
      .filter(({ kind }) => kind === 'close')
      .map(({ name, text }) => `${name}=${text}`);
    expect(names.slice(0, -3)).toEqual([
      'NewRemoteHost=',
      'NewExternalPort=40000',
      'NewProtocol=UDP',
      'NewInternalPort=51820',
      'NewInternalClient=192.168.1.2',
      'NewEnabled=1',
      'NewPortMappingDescription=warren',
      'NewLeaseDuration=7200',
    ]);
    expect(writeSoap(SERVICE, ADD)).toContain(
      '<u:AddPortMapping xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">',
    );
  });

  test('is answered by values', () => {
    const get: IgdAction = { name: 'GetExternalIPAddress' };
    const body = soap(
      '<u:GetExternalIPAddressResponse xmlns:u="x"><NewExternalIPAddress>203.0.113.9</NewExternalIPAddress></u:GetExternalIPAddressResponse>',
    );
    const result = readSoap(get, 200, body);
    expect(result.ok && externalAddressOf(result.values)).toBe('203.0.113.9');
    expect(readSoap(ADD, 200, soap('<u:AddPortMappingResponse/>')).ok).toBe(true);
  });

  test('is refused by a fault', () => {
    expect(readSoap(ADD, 500, fault(718))).toEqual({ ok: false, error: 718 });
    // Some say so with the status of a success.
    expect(readSoap(ADD, 200, fault(725))).toEqual({ ok: false, error: 725 });
  });

  test.each([
    ['the answer to another', 200, soap('<u:DeletePortMappingResponse/>')],
    ['a status', 404, soap('<u:AddPortMappingResponse/>')],
    ['a page', 200, '<html><body>Login</body></html>'],
    ['nothing', 200, ''],
    ['an error that is no number', 500, soap('<errorCode>-1</errorCode>')],
  ])('is not answered by %s', (_what, status, body) => {
    expect(readSoap(ADD, status, body)).toEqual({ ok: false, error: null });
  });

  test.each([
    ['', null],
    ['::1', null],
    ['203.0.113.9', '203.0.113.9'],
    ['203.0.113.999', null],
    ['router', null],
  ])('an address that is %j is %s', (text, address) => {
    expect(externalAddressOf(new Map([['NewExternalIPAddress', text]]))).toBe(address);
  });

  test.each([
    ['40000', 40_000],
    ['0', null],
    ['65536', null],
    ['4e4', null],
    ['', null],
  ])('a port that is %j is %s', (text, port) => {
    expect(reservedPortOf(new Map([['NewReservedPort', text]]))).toBe(port);
  });
});
