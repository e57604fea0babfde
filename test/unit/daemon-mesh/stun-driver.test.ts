// The daemon's questions to STUN servers: when they are asked, what is made of the answers, and that silence is not asked for ever.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import { type Endpoint, endpointParts, type IpAddress } from '../../../src/base/ip.ts';
import { StunDriver } from '../../../src/daemon/mesh/stun-driver.ts';
import { decodeStun, encodeSuccess } from '../../../src/path/stun/message.ts';

const SERVER = ['192.0.2.1', '2001:db8::1'] as IpAddress[];
const PORTS = [3478, 3479];
const LOCAL = ['10.0.0.2:4000', '[fd00::2]:4000'] as Endpoint[];

interface World {
  readonly driver: StunDriver;
  readonly asked: Endpoint[];
  told: number;
  /** Where a server sees us; null: it does not answer. */
  seen: (server: Endpoint) => Endpoint | null;
}

function world(): World {
  let seed = 1;
  const made: World = {
    asked: [],
    told: 0,
    seen: () => null,
    driver: new StunDriver({
      random: (out) => out.fill(seed++),
      now: () => performance.now() as Instant,
      local: () => LOCAL,
      onFindings: () => {
        made.told++;
      },
      send: (to, datagram) => {
        made.asked.push(to);
        const request = decodeStun(datagram);
        const reflexive = made.seen(to);
        if (typeof request === 'string') throw new Error(request);
        if (reflexive === null) return true;
        const answer = encodeSuccess(request.transactionId, { xorMapped: reflexive });
        setTimeout(() => made.driver.handle(answer, to), 20);
        return true;
      },
    }),
  };
  return made;
}

const v4 = (server: Endpoint): boolean => !endpointParts(server).address.includes(':');

let w: World;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  w = world();
});
afterEach(() => {
  w.driver.close();
  vi.useRealTimers();
});

describe('findings', () => {
  test('a NAT that keeps its port: one reflexive endpoint of each family, UDP works', async () => {
    w.seen = (server) => (v4(server) ? '203.0.113.9:5000' : '[2001:db8:9::2]:4000') as Endpoint;
    w.driver.setServers(SERVER, PORTS);
    await vi.advanceTimersByTimeAsync(100);
    const { reflexive, mapping, udp, servers } = w.driver.findings;
    expect({ reflexive, mapping, udp }).toEqual({
      reflexive: ['203.0.113.9:5000', '[2001:db8:9::2]:4000'],
      mapping: 'independent',
      udp: 'works',
    });
    expect(servers.map(({ rttMs, error }) => [rttMs, error])).toEqual(Array(4).fill([20, null]));
  });

  test('another port for each destination', async () => {
    w.seen = (server) => `203.0.113.9:${endpointParts(server).port + 1}` as Endpoint;
    w.driver.setServers([SERVER[0] as IpAddress], PORTS);
    await vi.advanceTimersByTimeAsync(100);
    expect(w.driver.findings.mapping).toBe('varies');
  });

  test('no NAT: a server sees an endpoint of ours', async () => {
    w.seen = () => LOCAL[0] as Endpoint;
    w.driver.setServers([SERVER[0] as IpAddress], PORTS);
    await vi.advanceTimersByTimeAsync(100);
    expect(w.driver.findings.mapping).toBe('none');
  });

  test('a server that answers is told of before a silent one is given up', async () => {
    w.seen = (server) => (v4(server) ? ('203.0.113.9:5000' as Endpoint) : null);
    w.driver.setServers(SERVER, PORTS);
    await vi.advanceTimersByTimeAsync(100);
    expect(w.driver.findings).toMatchObject({ reflexive: ['203.0.113.9:5000'], udp: 'works' });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(w.driver.findings.servers.map(({ error }) => error)).toEqual([null, null, 'timeout', 'timeout']);
  });
});

describe('when it asks', () => {
  test('the same servers again are not asked again, and nothing is while the network is still', async () => {
    w.seen = () => '203.0.113.9:5000' as Endpoint;
    w.driver.setServers(SERVER, PORTS);
    await vi.advanceTimersByTimeAsync(1_000);
    w.driver.setServers(SERVER, PORTS);
    await vi.advanceTimersByTimeAsync(86_400_000);
    expect(w.asked).toHaveLength(4);
    w.driver.restart();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(w.asked).toHaveLength(8);
  });

  test('all silent: UDP is blocked, and after some tries it is not asked any more', async () => {
    w.driver.setServers([SERVER[0] as IpAddress], [3478]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(w.driver.findings.udp).toBe('blocked');
    await vi.advanceTimersByTimeAsync(86_400_000);
    const asked = w.asked.length;
    expect(asked).toBe(5 * 4);
    await vi.advanceTimersByTimeAsync(86_400_000);
    expect(w.asked).toHaveLength(asked);
  });

  test('check: resolves when the last one has answered or is given up; at once without servers', async () => {
    await expect(w.driver.check()).resolves.toMatchObject({ udp: 'unknown' });
    w.driver.setServers(SERVER, PORTS);
    const checked = w.driver.check();
    await vi.advanceTimersByTimeAsync(10_000);
    await expect(checked).resolves.toMatchObject({ udp: 'blocked' });
  });

  test('nothing after close, and whoever waits is told', async () => {
    w.driver.setServers(SERVER, PORTS);
    const checked = w.driver.check();
    w.driver.close();
    await checked;
    const { length } = w.asked;
    await vi.advanceTimersByTimeAsync(86_400_000);
    expect(w.asked).toHaveLength(length);
  });
});
