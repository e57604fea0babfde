// One port at one gateway, in virtual time: which protocol maps and how fast, what it costs while nothing changes, and what happens
// when the gateway begins anew, refuses, goes silent, or is somebody else's.

import { describe, expect, test } from 'vitest';
import type { IpAddress } from '../../../src/base/ip.ts';
import { ANSWER_WAITS_MS } from '../../../src/path/portmap/exchange.ts';
import {
  ANNOUNCED_DELAY_MAX_MS,
  ANNOUNCED_GAP_MS,
  BEGIN_GAP_MS,
  END_WITHIN_MS,
  HEAD_START_MS,
  REFRESH_GAP_MS,
  RETRY_MIN_MS,
  RETRY_MS,
} from '../../../src/path/portmap/gateway-mapping.ts';
import { LIFETIME_MAX_S, LIFETIME_S } from '../../../src/path/portmap/lease.ts';
import { SEARCH_WAITS_MS } from '../../../src/path/portmap/upnp-client.ts';
import { GIVEN_UP_MS, LOCAL, mapped, PORT, Rig, speaking } from './portmap-rig.ts';

const HOUR_MS = 3_600_000;
const OUTSIDE = '203.0.113.9:51820';

describe('a gateway that speaks', () => {
  test('all three maps by PCP within a round trip, and the others rest', () => {
    const rig = speaking('pcp', 'natpmp', 'upnp');
    rig.refresh();
    expect(rig.until(() => rig.isMapped, 100)).toBeLessThan(10);
    expect(rig.endpoints).toEqual([`pcp ${OUTSIDE}`]);
    expect(rig.searching).toBe(false);
    rig.take();
    rig.run(HOUR_MS * 0.99);
    expect(rig.take()).toEqual([]);
    expect([...rig.gateway.mappings]).toEqual([
      [PORT, expect.objectContaining({ by: 'pcp', local: LOCAL, port: PORT })],
    ]);
    expect(rig.status('upnp')).toMatchObject({ state: 'none', why: 'not needed: another protocol has mapped' });
  });

  test('NAT-PMP, and says so to PCP, maps within two round trips', () => {
    const rig = speaking('natpmp', 'upnp');
    rig.gateway.pcp = 'older';
    rig.refresh();
    expect(rig.until(() => rig.isMapped, 100)).toBeLessThan(10);
    expect(rig.endpoints).toEqual([`natpmp ${OUTSIDE}`]);
    expect(rig.status('pcp')).toMatchObject({
      state: 'unsupported',
      why: 'the gateway speaks NAT-PMP, which is older',
    });
  });

  test('NAT-PMP and does not answer PCP maps when PCP has had its chance', () => {
    const rig = speaking('natpmp');
    rig.refresh();
    const took = rig.until(() => rig.isMapped, 1_000);
    expect(took).toBeGreaterThanOrEqual(HEAD_START_MS);
    expect(took).toBeLessThan(HEAD_START_MS + 20);
  });

  test('UPnP alone, with nothing on the port of the others, maps when it has been found', () => {
    const rig = speaking('upnp');
    rig.gateway.closed = true;
    rig.refresh();
    rig.until(() => rig.isMapped, 300);
    expect(rig.endpoints).toEqual([`upnp ${OUTSIDE}`]);
    expect(rig.status('natpmp').why).toBe('nothing listens on UDP port 5351 of the gateway');
    expect(rig.take().filter((what) => what !== 'search')).toEqual([
      'pcp',
      'natpmp address',
      'get',
      'GetExternalIPAddress',
      'AddPortMapping',
    ]);
  });

  test('UPnP, and swallows the rest, maps when the others have had their chance', () => {
    const rig = speaking('upnp');
    rig.refresh();
    expect(rig.until(() => rig.isMapped, 1_000)).toBeGreaterThanOrEqual(HEAD_START_MS);
  });

  test('PCP alone says so to NAT-PMP', () => {
    const rig = speaking();
    rig.gateway.pcp = 2;
    rig.gateway.natPmp = 'newer';
    rig.refresh();
    rig.run(100);
    expect(rig.status('natpmp').why).toBe('the gateway speaks PCP, which is newer');
  });

  test('PCP and refuses is asked by the others', () => {
    const rig = speaking('upnp');
    rig.gateway.pcp = 2;
    rig.gateway.natPmp = 2;
    rig.refresh();
    rig.until(() => rig.isMapped, 300);
    expect(rig.endpoints).toEqual([`upnp ${OUTSIDE}`]);
    const why = 'its settings forbid mappings for this machine';
    for (const one of ['pcp', 'natpmp'] as const) expect(rig.status(one)).toMatchObject({ state: 'refused', why });
  });

  test.each(['pcp', 'natpmp'] as const)('%s over a lossy network still maps', (protocol) => {
    const rig = speaking(protocol);
    rig.gateway.lose = 4;
    rig.refresh();
    expect(rig.until(() => rig.isMapped, GIVEN_UP_MS)).toBeGreaterThan(200);
  });

  test('and has given our port to another gives another', () => {
    const rig = speaking('pcp');
    rig.gateway.mappings.set(PORT, { by: 'pcp', port: 1, local: '192.168.1.77', until: Number.POSITIVE_INFINITY });
    rig.refresh();
    rig.run(10);
    expect(rig.endpoints).toEqual(['pcp 203.0.113.9:51821']);
  });
});

describe('a gateway that speaks nothing', () => {
  test('is given up, says why, and is asked again after half an hour alone', () => {
    const rig = new Rig();
    rig.refresh();
    rig.run(GIVEN_UP_MS + 10);
    expect(rig.machine.status.map(({ state, why }) => `${state}: ${why}`)).toEqual([
      'unsupported: no answer from UDP port 5351 of the gateway',
      'unsupported: no answer from UDP port 5351 of the gateway',
      'unsupported: no answer to the search for a UPnP gateway',
    ]);
    expect(rig.take()).toHaveLength(2 * ANSWER_WAITS_MS.length + 4 * SEARCH_WAITS_MS.length);
    const { wakeups } = rig;
    rig.run(RETRY_MS - GIVEN_UP_MS);
    expect(rig.take()).toEqual([]);
    expect(rig.wakeups).toBe(wakeups);
    rig.run(RETRY_MS / 8 + GIVEN_UP_MS);
    expect(rig.take()).not.toEqual([]);
  });

  test('is asked at once when the network changes', () => {
    const rig = new Rig();
    rig.refresh();
    rig.run(60_000);
    rig.gateway.pcp = 'on';
    rig.refresh();
    expect(rig.until(() => rig.isMapped, 100)).toBeLessThan(10);
  });

  test('is asked when it announces itself, at most once a minute', () => {
    const rig = new Rig();
    rig.refresh();
    rig.run(10 * 60_000);
    rig.take();
    rig.gateway.pcp = 'on';
    rig.gateway.reboot(rig.now);
    rig.announce();
    rig.until(() => rig.isMapped, ANNOUNCED_DELAY_MAX_MS + 10);

    const silent = new Rig();
    silent.refresh();
    silent.run(10 * 60_000);
    silent.take();
    for (let i = 0; i < 600; i++) {
      silent.gateway.reboot(silent.now);
      silent.gateway.pcp = 'on';
      silent.announce();
      silent.gateway.pcp = 'silent';
      silent.run(1_000);
    }
    const beginnings = silent.sent.filter(
      ({ what }, i) => what === 'search' && silent.sent[i - 1]?.what !== 'search',
    ).length;
    expect(beginnings).toBeLessThanOrEqual((600_000 / BEGIN_GAP_MS + 1) * SEARCH_WAITS_MS.length);
  });
});

describe('a network that changes often', () => {
  test('costs one beginning in two seconds', () => {
    const rig = speaking('pcp');
    for (let i = 0; i < 100; i++) {
      rig.refresh();
      rig.run(100);
    }
    expect(rig.sent.filter(({ what }) => what === 'pcp').length).toBeLessThanOrEqual(10_000 / REFRESH_GAP_MS + 1);
    expect(rig.isMapped).toBe(true);
  });

  test('keeps the mapping while it is asked for again', () => {
    const rig = mapped('pcp');
    rig.gateway.pcp = 'silent';
    rig.refresh();
    rig.run(60_000);
    expect(rig.endpoints).toEqual([`pcp ${OUTSIDE}`]);
  });
});

describe.each(['pcp', 'natpmp', 'upnp'] as const)('a mapping by %s', (protocol) => {
  const requests = {
    pcp: ['pcp'],
    natpmp: ['natpmp address', 'natpmp map'],
    upnp: ['GetExternalIPAddress', 'AddPortMapping'],
  };

  test('is renewed in the first quarter of the second half of its life, and wakes nobody until then', () => {
    const rig = mapped(protocol);
    const { wakeups } = rig;
    const from = rig.now;
    rig.run(LIFETIME_S * 500 - 60_000);
    expect(rig.take()).toEqual([]);
    expect(rig.wakeups).toBe(wakeups);
    rig.run(LIFETIME_S * 125 + 60_000);
    expect(rig.sent.map(({ what }) => what)).toEqual(requests[protocol]);
    expect((rig.sent[0]?.at ?? 0) - from).toBeGreaterThan(LIFETIME_S * 500 - 60_000);
    expect(rig.machine.mappings[0]?.expiresAt).toBeGreaterThan(from + LIFETIME_S * 1_400);
  });

  test('lasts for days', () => {
    const rig = mapped(protocol);
    for (let i = 0; i < 72; i++) {
      rig.run(HOUR_MS);
      expect(rig.endpoints).toEqual([`${protocol} ${OUTSIDE}`]);
      expect([...rig.gateway.mappings.values()][0]?.until).toBeGreaterThan(rig.now);
    }
    expect(rig.sent.length).toBeLessThanOrEqual(72 * requests[protocol].length);
  });

  test('is asked for again and again when nobody answers, then it is gone, and comes back with the gateway', () => {
    const rig = mapped(protocol);
    const { gateway } = rig;
    [gateway.pcp, gateway.natPmp, gateway.upnp] = ['silent', 'silent', 'silent'];
    rig.run(LIFETIME_S * 900);
    expect(rig.isMapped).toBe(true);
    expect(rig.take().length).toBeGreaterThan(2 * requests[protocol].length);
    rig.run(LIFETIME_S * 200);
    expect(rig.endpoints).toEqual([]);
    [gateway.pcp, gateway.natPmp, gateway.upnp] = ['on', 'on', 'on'];
    rig.run(RETRY_MS * 1.2);
    expect(rig.isMapped).toBe(true);
  });

  test('follows the gateway to another outer address', () => {
    const rig = mapped(protocol);
    rig.gateway.external = '203.0.113.200' as IpAddress;
    rig.refresh();
    rig.run(1_000);
    expect(rig.endpoints).toEqual([`${protocol} 203.0.113.200:51820`]);
  });

  test('of a gateway behind another NAT is kept, told, and no candidate', () => {
    const rig = speaking(protocol);
    rig.gateway.external = '100.64.1.2' as IpAddress;
    rig.refresh();
    rig.run(2_000);
    expect(rig.endpoints).toEqual([]);
    expect(rig.status(protocol)).toMatchObject({
      state: 'mapped',
      external: '100.64.1.2:51820',
      doubleNat: true,
      why: 'its own address outside, 100.64.1.2, is no public one: there is another NAT behind it',
    });
    rig.run(3 * HOUR_MS);
    expect([...rig.gateway.mappings.values()][0]?.until).toBeGreaterThan(rig.now);
  });

  test('is given back at the end, and that is known within round trips', () => {
    const rig = mapped(protocol);
    rig.machine.end(rig.now);
    expect(rig.machine.isEnded).toBe(false);
    expect(rig.endpoints).toEqual([]);
    expect(rig.until(() => rig.machine.isEnded, 100)).toBeLessThan(50);
    expect([...rig.gateway.mappings]).toEqual([]);
    rig.take();
    rig.run(3 * HOUR_MS);
    expect(rig.take()).toEqual([]);
  });

  test('is given back as well as may be to a gateway that is silent', () => {
    const rig = mapped(protocol);
    rig.gateway.lose = 99;
    rig.httpMs = 60_000;
    rig.machine.end(rig.now);
    expect(rig.until(() => rig.machine.isEnded, 2_000)).toBe(END_WITHIN_MS);
    expect(rig.take().length).toBeGreaterThanOrEqual(protocol === 'upnp' ? 1 : 3);
  });

  test('that is being made when the end comes is given back', () => {
    const rig = speaking(protocol);
    rig.refresh();
    rig.until(() => rig.gateway.mappings.size > 0, 1_000);
    expect(rig.isMapped).toBe(false);
    rig.machine.end(rig.now);
    rig.until(() => rig.machine.isEnded, 1_000);
    expect([...rig.gateway.mappings]).toEqual([]);
  });

  test('is asked for at the same outer port', () => {
    const rig = speaking(protocol);
    const { gateway } = rig;
    const other = { by: 'upnp', port: 1, local: '192.168.1.77', until: Number.POSITIVE_INFINITY } as const;
    gateway.mappings.set(PORT, other);
    if (protocol === 'upnp') gateway.faults = [['AddPortMapping', 718]];
    rig.refresh();
    rig.run(2_000);
    const before = rig.endpoints;
    expect(before).toHaveLength(1);
    expect(before).not.toEqual([`${protocol} ${OUTSIDE}`]);
    gateway.reboot(rig.now);
    rig.refresh();
    rig.run(2_000);
    expect(rig.endpoints).toEqual(before);
    expect(gateway.mappings.size).toBe(1);
  });
});

describe.each(['pcp', 'natpmp'] as const)('an announcement (%s)', (protocol) => {
  test('of a gateway that began anew has the mapping made again within seconds', () => {
    const rig = mapped(protocol);
    rig.run(HOUR_MS / 2);
    rig.gateway.reboot(rig.now);
    expect(rig.gateway.mappings.size).toBe(0);
    rig.announce();
    rig.run(ANNOUNCED_DELAY_MAX_MS + 10);
    expect(rig.gateway.mappings.size).toBe(1);
    expect(rig.endpoints).toEqual([`${protocol} ${OUTSIDE}`]);
  });

  test('of one that began anew at once, before its clock could tell, is believed', () => {
    const rig = speaking(protocol);
    rig.gateway.reboot(rig.now);
    rig.refresh();
    rig.run(HEAD_START_MS + 100);
    expect(rig.gateway.mappings.size).toBe(1);
    rig.gateway.reboot(rig.now);
    rig.announce();
    rig.run(ANNOUNCED_DELAY_MAX_MS + 10);
    expect(rig.gateway.mappings.size).toBe(1);
  });

  test('of one that did not is no reason for anything', () => {
    const rig = mapped(protocol);
    rig.run(HOUR_MS / 4);
    for (let i = 0; i < 100; i++) {
      rig.announce();
      rig.run(1_000);
    }
    expect(rig.take()).toEqual([]);
  });

  test('is believed once in ten seconds, however many come', () => {
    const rig = mapped(protocol);
    for (let i = 0; i < 1_000; i++) {
      rig.gateway.reboot(rig.now);
      rig.announce();
      rig.run(100);
      rig.gateway.bootedAt = (rig.now - 1e9) as never;
      rig.announce();
    }
    const renewals = rig.sent.filter(({ what }) => what === 'pcp' || what === 'natpmp map').length;
    expect(renewals).toBeGreaterThan(5);
    expect(renewals).toBeLessThanOrEqual(100_000 / ANNOUNCED_GAP_MS + 1);
  });
});

test('an announcement of a gateway that was never heard is news once', () => {
  const rig = mapped('upnp');
  rig.run(HOUR_MS / 4);
  for (let i = 0; i < 20; i++) {
    rig.gateway.pcp = 'on';
    rig.announce();
    rig.gateway.pcp = 'silent';
    rig.run(ANNOUNCED_DELAY_MAX_MS + 100);
  }
  expect(rig.take()).toEqual(['GetExternalIPAddress', 'AddPortMapping']);
});

test('an announcement of another outer address is reason enough', () => {
  const rig = mapped('natpmp');
  rig.gateway.external = '203.0.113.77' as IpAddress;
  rig.announce();
  rig.run(ANNOUNCED_DELAY_MAX_MS + 10);
  expect(rig.endpoints).toEqual(['natpmp 203.0.113.77:51820']);
});

/** What the gateway answers is changed on its way; null: it is lost. */
function between(rig: Rig, change: (answer: Uint8Array, request: Uint8Array) => Uint8Array | null): void {
  const before = rig.gateway.server.bind(rig.gateway);
  rig.gateway.server = (bytes, now) => {
    const answer = before(bytes, now);
    return answer instanceof Uint8Array ? change(answer, bytes) : answer;
  };
}

test('a lesser protocol waits while a better one maps, however long that takes', () => {
  const rig = speaking('natpmp', 'upnp');
  let lost = 0;
  between(rig, (answer) => (answer[1] === 129 && lost++ < 3 ? null : answer));
  rig.refresh();
  rig.until(() => rig.isMapped, 5_000);
  expect(lost).toBe(4);
  rig.run(GIVEN_UP_MS);
  expect(rig.endpoints).toEqual([`natpmp ${OUTSIDE}`]);
  expect(rig.sent.map(({ what }) => what)).not.toContain('AddPortMapping');
});

describe('a deletion by PCP', () => {
  test('is not confirmed by the answer to what was asked before', () => {
    const rig = speaking('pcp');
    rig.refresh();
    rig.gateway.lose = 1;
    rig.machine.end(rig.now);
    rig.run(10);
    expect(rig.machine.isEnded).toBe(false);
    expect(rig.gateway.mappings.size).toBe(1);
    rig.run(300);
    expect(rig.machine.isEnded).toBe(true);
    expect(rig.gateway.mappings.size).toBe(0);
  });

  test('suggests neither address nor port (RFC 6887 §15)', () => {
    const rig = mapped('pcp');
    let deletion = new Uint8Array(0);
    between(rig, (answer, request) => {
      deletion = Uint8Array.from(request);
      return answer;
    });
    rig.machine.end(rig.now);
    rig.run(100);
    expect([...deletion.subarray(42)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0]);
  });
});

describe('a lifetime', () => {
  test('that the gateway shortens is renewed at half of that', () => {
    const rig = speaking('pcp');
    rig.gateway.lifetimeMaxS = 120;
    rig.refresh();
    rig.run(600_000);
    const renewals = rig.sent.filter(({ what }) => what === 'pcp').length;
    expect(renewals).toBeGreaterThanOrEqual(600 / 75);
    expect(renewals).toBeLessThanOrEqual(600 / 60 + 1);
    expect(rig.isMapped).toBe(true);
  });

  test('of seconds is a refusal', () => {
    const rig = speaking('pcp');
    rig.gateway.lifetimeMaxS = 5;
    rig.refresh();
    rig.run(HOUR_MS);
    expect(rig.status('pcp')).toMatchObject({ state: 'refused', why: 'it maps for no longer than 5 s' });
    expect(rig.sent.filter(({ what }) => what === 'pcp').length).toBeLessThanOrEqual(3);
  });

  test('of years is taken for a day', () => {
    const rig = speaking('pcp');
    rig.refresh();
    // The answer is longer than what was asked.
    between(rig, (answer) => answer.fill(255, 4, 8));
    rig.run(2_500);
    rig.refresh();
    rig.run(10);
    expect((rig.machine.mappings[0]?.expiresAt ?? 0) - rig.now).toBeLessThanOrEqual(LIFETIME_MAX_S * 1_000);
  });
});

describe('a refusal that will pass', () => {
  test.each([
    ['pcp', 7],
    ['natpmp', 3],
  ] as const)('is asked about after a minute, then more and more rarely (%s)', (protocol, result) => {
    const rig = new Rig();
    if (protocol === 'pcp') rig.gateway.pcp = result;
    else rig.gateway.natPmp = result;
    rig.refresh();
    rig.run(4 * HOUR_MS);
    const request = protocol === 'pcp' ? 'pcp' : 'natpmp address';
    const at = rig.sent.filter(({ what }) => what === request).map((one) => one.at);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(RETRY_MIN_MS);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeLessThan(2 * RETRY_MIN_MS);
    expect(at.length).toBeLessThan(16);
    rig.gateway.pcp = 'on';
    rig.run(RETRY_MS * 1.2);
    expect(rig.isMapped).toBe(true);
  });
});

describe('IPv6', () => {
  test('is asked by PCP alone for a hole in the firewall', () => {
    const local = '2001:db8::2' as IpAddress;
    const rig = new Rig({ gateway: 'fe80::1' as IpAddress, local });
    rig.gateway.pcp = 'on';
    rig.refresh();
    rig.run(100);
    expect(rig.endpoints).toEqual(['pcp [2001:db8::2]:51820']);
    expect(rig.machine.status).toHaveLength(1);
    expect(rig.take()).toEqual(['pcp']);
    rig.machine.end(rig.now);
    rig.run(100);
    expect(rig.gateway.mappings.size).toBe(0);
  });
});

describe('an answer that is somebody else’s', () => {
  test('has another nonce or port, and counts as nothing', () => {
    for (const [protocol, at] of [
      ['pcp', 24],
      ['pcp', 41],
      ['natpmp', 9],
    ] as const) {
      const rig = speaking(protocol);
      between(rig, (answer) => {
        if (answer.length > 12) answer[at] = (answer[at] as number) ^ 1;
        return answer;
      });
      rig.refresh();
      rig.run(900);
      expect(rig.isMapped).toBe(false);
      expect(rig.machine.ignored).toBeGreaterThan(0);
    }
  });

  test('came for something that is over', () => {
    const rig = mapped('pcp');
    const { ignored } = rig.machine;
    rig.machine.handleHttp(7, { ok: true, status: 200, body: '' }, rig.now);
    rig.machine.handleSearchAnswer(new Uint8Array(0), rig.now);
    rig.machine.handleServer(new Uint8Array(60), rig.now);
    rig.machine.handleAnnouncement(new Uint8Array(3), rig.now);
    rig.machine.handleServerUnreachable(rig.now);
    expect(rig.machine.ignored).toBe(ignored + 3);
    expect(rig.endpoints).toEqual([`pcp ${OUTSIDE}`]);
  });
});
