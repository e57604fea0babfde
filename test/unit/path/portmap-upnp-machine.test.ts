// A gateway that speaks UPnP-IGD alone, in virtual time: what it is asked when it refuses, lies, or is slow.

import { describe, expect, test } from 'vitest';
import { ascii } from '../../../src/base/bytes.ts';
import type { IpAddress } from '../../../src/base/ip.ts';
import { HTTP_TIMEOUT_MS, PLACES_MAX } from '../../../src/path/portmap/upnp-client.ts';
import { mapped, PORT, Rig, SEARCHED_MS, speaking } from './portmap-rig.ts';

const HOUR_MS = 3_600_000;
const OUTSIDE = '203.0.113.9:51820';

describe('a UPnP gateway', () => {
  const upnp = (...faults: readonly [string, number][]): Rig => {
    const rig = speaking('upnp');
    rig.gateway.closed = true;
    rig.gateway.faults = [...faults];
    rig.refresh();
    rig.run(2_000);
    return rig;
  };
  const actions = (rig: Rig): string[] => rig.take().filter((what) => /^[AD]/.test(what));

  test('whose port is taken is asked for others', () => {
    const rig = upnp(['AddPortMapping', 718], ['AddPortMapping', 718]);
    expect(actions(rig)).toEqual(['AddPortMapping', 'AddPortMapping', 'AddPortMapping']);
    expect(rig.machine.mappings[0]?.endpoint).toMatch(/^203\.0\.113\.9:(49[1-9]|5|6)[0-9]{3,4}$/);
  });

  test('of the second version chooses the port itself', () => {
    const rig = speaking('upnp');
    Object.assign(rig.gateway, { closed: true, serviceType: 'WANIPConnection:2', faults: [['AddPortMapping', 718]] });
    rig.gateway.mappings.set(PORT, { by: 'upnp', port: 1, local: '192.168.1.77', until: Number.POSITIVE_INFINITY });
    rig.refresh();
    rig.run(2_000);
    expect(actions(rig)).toEqual(['AddPortMapping', 'AddAnyPortMapping']);
    expect(rig.endpoints).toEqual(['upnp 203.0.113.9:51821']);
    rig.machine.end(rig.now);
    rig.run(100);
    expect([...rig.gateway.mappings.keys()]).toEqual([PORT]);
  });

  test('that knows no leases maps for ever, is looked after, and is given it back', () => {
    const rig = upnp(['AddPortMapping', 725]);
    expect(actions(rig)).toEqual(['AddPortMapping', 'AddPortMapping']);
    expect(rig.machine.mappings[0]?.expiresAt).toBe(Number.POSITIVE_INFINITY);
    rig.run(HOUR_MS * 1.1);
    expect(actions(rig)).toEqual(['AddPortMapping']);
    rig.machine.end(rig.now);
    rig.run(100);
    expect(rig.gateway.mappings.size).toBe(0);
  });

  test.each([
    [606, 'its settings forbid mappings for this machine'],
    [724, 'it maps only to the same port outside, and that belongs to another'],
    [501, 'its UPnP service answered with error 501'],
  ])('that refuses with %i is left alone', (code, why) => {
    const rig = upnp(['AddPortMapping', code]);
    expect(actions(rig)).toEqual(['AddPortMapping']);
    expect(rig.status('upnp')).toMatchObject({ state: 'refused', why });
  });

  test('whose every port is taken is given up', () => {
    const rig = upnp(...Array.from({ length: 50 }, (): [string, number] => ['AddPortMapping', 718]));
    expect(actions(rig)).toHaveLength(5);
    expect(rig.status('upnp').why).toBe('the outer ports that were tried belong to others');
  });

  test('without an address outside is given up when the search is over', () => {
    const rig = speaking('upnp');
    rig.gateway.closed = true;
    rig.gateway.external = '0.0.0.0' as IpAddress;
    rig.refresh();
    rig.run(SEARCHED_MS + 100);
    expect(rig.status('upnp')).toMatchObject({
      state: 'unsupported',
      why: 'its UPnP service has no address outside at the moment',
    });
  });

  const found = (port: number, path: string): Uint8Array =>
    ascii(
      `HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.168.1.1:${port}${path}\r\n\r\n`,
    );

  test('that names many descriptions is asked for few, and for each once', () => {
    const rig = new Rig();
    rig.gateway.closed = true;
    rig.refresh();
    for (let i = 0; i < 100; i++) rig.machine.handleSearchAnswer(found(1_000 + (i % 50), '/d'), rig.now);
    rig.run(SEARCHED_MS + 1_000);
    expect(rig.take().filter((what) => what === 'get')).toHaveLength(PLACES_MAX);
    const again = new Rig();
    again.gateway.closed = true;
    again.refresh();
    for (let i = 0; i < 100; i++) again.machine.handleSearchAnswer(found(1_000, '/d'), again.now);
    again.run(SEARCHED_MS + 1_000);
    expect(again.take().filter((what) => what === 'get')).toHaveLength(1);
  });

  test('whose answer comes when it was given up, and another was asked, has come too late', () => {
    const rig = speaking('upnp');
    rig.gateway.closed = true;
    rig.httpMs = HTTP_TIMEOUT_MS * 1.5;
    rig.refresh();
    // The description is given up; another place is asked, and now the first answers.
    rig.machine.handleSearchAnswer(found(5_000, '/desc.xml'), rig.now);
    rig.machine.handleSearchAnswer(found(5_000, '/other.xml'), rig.now);
    rig.run(HTTP_TIMEOUT_MS * 1.6);
    expect(rig.take().filter((what) => what !== 'search' && !what.includes('p'))).toEqual(['get', 'get']);
  });

  test('that was started again, with its service elsewhere, is found again at the next renewal', () => {
    const rig = mapped('upnp');
    rig.gateway.reboot(rig.now);
    rig.gateway.httpPort = 6000;
    rig.refresh();
    rig.run(3_000);
    expect(rig.gateway.mappings.size).toBe(1);
    expect(rig.endpoints).toEqual([`upnp ${OUTSIDE}`]);
    expect(rig.searching).toBe(false);
  });
});
