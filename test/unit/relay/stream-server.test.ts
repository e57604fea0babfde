// The WebSocket side of a relay over real sockets: what goes through it, who is let in and for how long, and what a client that is slow,
// silent, a stranger or hostile can make of it.

import { connect as connectTcp } from 'node:net';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import type { IpAddress } from '../../../src/base/ip.ts';
import { Prng } from '../../../src/base/prng.ts';
import { STREAM_LIMITS } from '../../../src/relay/stream/stream-limits.ts';
import { StreamPlaces } from '../../../src/relay/stream/stream-places.ts';
import { datagram, message, streamLab, until } from './stream-lab.ts';

describe('a stream', () => {
  test('carries datagrams both ways, several in a message, in order', async () => {
    const lab = await streamLab();
    const client = await lab.connect();
    client.send(datagram(1, 148), datagram(4, 32, 5), datagram(0x20, 500, 6));
    await until('three datagrams', () => lab.relay.heard.length === 3);
    expect(lab.relay.heard.map(({ bytes }) => bytes.length)).toEqual([148, 32, 500]);
    await until('the response', () => client.received.length === 1);
    expect(toHex(client.received[0] as Uint8Array)).toBe(toHex(datagram(2, 92)));
    for (let i = 0; i < 20; i++) lab.relay.say(datagram(4, 100 + i, i));
    await until('twenty', () => client.received.length === 21);
    expect(client.received.slice(1).map(({ length }) => length)).toEqual(Array.from({ length: 20 }, (_, i) => 100 + i));
    expect(lab.server.counters).toMatchObject({ opened: 1, proven: 1, datagramsIn: 3, datagramsOut: 21 });
    expect(lab.proven).toBe(1);
  });

  test('is a source of its own to the relay: limits on one do not concern another', async () => {
    const lab = await streamLab();
    const clients = [await lab.connect(), await lab.connect(), await lab.connect()];
    for (const client of clients) client.send(datagram(1, 148));
    await until('three initiations', () => lab.relay.heard.length === 3);
    const sources = lab.relay.heard.map(({ from }) => from.address);
    expect(new Set(sources).size).toBe(3);
    for (const address of sources) expect(address).toMatch(/^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./);
    // And hears what is for it alone.
    lab.relay.say(datagram(4, 77));
    await until('its datagram', () => clients[2]?.received.length === 2);
    expect(clients.map(({ received }) => received.length)).toEqual([1, 1, 2]);
  });

  test('of somebody whom the relay does not answer is closed, and a cookie is no answer', async () => {
    const lab = await streamLab({ provenWithinMs: 150 });
    lab.relay.answer = () => datagram(3, 64);
    const stranger = await lab.connect();
    stranger.send(datagram(1, 148));
    await until('the cookie', () => stranger.received.length === 1);
    await until('the end', () => stranger.closed !== null);
    expect(stranger.closed).toBe(1008);
    expect(lab.server.counters).toMatchObject({ closedUnproven: 1, proven: 0 });
    expect(lab.server.streams).toBe(0);
    lab.relay.answer = () => datagram(2, 92);
    const member = await lab.connect();
    member.send(datagram(1, 148));
    await until('the response', () => member.received.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(member.closed).toBeNull();
    expect(lab.server.streams).toBe(1);
  });

  test('of a stranger who sends a lot is closed at once', async () => {
    const lab = await streamLab({ unprovenDatagramsMax: 10 });
    const stranger = await lab.connect();
    stranger.send(...Array.from({ length: 10 }, () => datagram(4)));
    await until('ten', () => lab.relay.heard.length === 10);
    stranger.send(datagram(4));
    await until('the end', () => stranger.closed === 1008);
    expect(lab.relay.heard.length).toBe(10);
  });

  test('in which nothing comes is closed, and one in which something does is not', async () => {
    const lab = await streamLab({ idleMs: 200 });
    const [idle, busy] = [await lab.connect(), await lab.connect()];
    for (const client of [idle, busy]) client.send(datagram(1, 148));
    await until('both are proven', () => lab.server.counters.proven === 2);
    const beat = setInterval(() => busy.send(datagram(4, 32)), 20);
    await until('the end of one', () => idle.closed !== null);
    await new Promise((resolve) => setTimeout(resolve, 300));
    clearInterval(beat);
    expect(busy.closed).toBeNull();
    expect(lab.server.counters.closedIdle).toBe(1);
  });

  test('whose end does not read loses datagrams, holds no more than it may, and holds up nobody', async () => {
    const lab = await streamLab();
    const [slow, other] = [await lab.connect(), await lab.connect()];
    other.send(datagram(1, 148));
    await until('the other is proven', () => other.received.length === 1);
    slow.send(datagram(1, 148));
    await until('the slow one too', () => slow.received.length === 1);
    slow.webSocket.pause();
    const before = process.memoryUsage().arrayBuffers;
    const deadline = performance.now() + 20_000;
    while (lab.server.counters.droppedFull < 2_000 && performance.now() < deadline) {
      for (let i = 0; i < 100; i++) lab.relay.say(datagram(4, 1_400));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(lab.server.counters.droppedFull).toBeGreaterThanOrEqual(2_000);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
    other.send(datagram(1, 148));
    await until('an answer for the other', () => other.received.length === 2);
  });

  test('that sends more than it may is not read for a while, and nothing of it is lost', async () => {
    const lab = await streamLab({ bytesBurst: 20_000, bytesPerSecond: 1_000_000 });
    const client = await lab.connect();
    client.send(datagram(1, 148));
    await until('it is proven', () => client.received.length === 1);
    const began = performance.now();
    for (let i = 0; i < 600; i++) client.send(datagram(4, 1_000));
    // What was passed on: a socket of UDP that is not read in time loses some of it.
    await until('all of it', () => lab.server.counters.datagramsIn === 601);
    expect(performance.now() - began).toBeGreaterThan(450);
    expect(lab.server.counters.pauses).toBeGreaterThan(0);
    expect(lab.server.counters.droppedBusy).toBe(0);
  });

  test('ends when the relay’s port is gone', async () => {
    const lab = await streamLab({}, 9);
    const client = await lab.connect();
    client.send(datagram(1, 148), datagram(1, 148));
    await until('the end', () => client.closed !== null);
    expect(lab.server.counters.closedOther).toBe(1);
  });
});

describe('places', () => {
  test('are bounded for each source, and given back', async () => {
    const lab = await streamLab({ unprovenPerSourceMax: 2, perSourceMax: 3 });
    const first = await lab.connect();
    const second = await lab.connect();
    expect((await lab.connect()).closed).toBe(503);
    lab.from = '192.0.2.2' as IpAddress;
    expect((await lab.connect()).closed).toBeNull();
    lab.from = '192.0.2.1' as IpAddress;
    for (const client of [first, second]) client.send(datagram(1, 148));
    await until('both are proven', () => lab.server.counters.proven === 2);
    expect((await lab.connect()).closed).toBeNull();
    expect((await lab.connect()).closed).toBe(503);
    first.webSocket.close();
    await until('one has gone', () => lab.server.streams === 3);
    expect((await lab.connect()).closed).toBeNull();
    expect(lab.server.counters.refusedSource).toBe(2);
  });

  test('count right, whatever the order in which they are taken, proven and released', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const prng = new Prng(seed);
      const limits = { ...STREAM_LIMITS, streamsMax: 12, unprovenMax: 8, perSourceMax: 5, unprovenPerSourceMax: 3 };
      const places = new StreamPlaces(limits);
      const held: { place: { proven(): void; release(): void }; source: string | null; proven: boolean }[] = [];
      for (let step = 0; step < 80; step++) {
        const at = prng.nextInt(0, Math.max(0, held.length - 1));
        const entry = held[at];
        const choice = prng.nextInt(0, 3);
        if (choice < 2) {
          const source = prng.chance(0.2) ? null : `192.0.2.${prng.nextInt(1, 4)}`;
          const placed = places.take(source as IpAddress | null);
          const same = held.filter((one) => one.source === source);
          const strangers = (of: typeof held): number => of.filter(({ proven }) => !proven).length;
          const total = held.length < 12 && strangers(held) < 8;
          expect(placed.ok).toBe(total && (source === null || (same.length < 5 && strangers(same) < 3)));
          if (placed.ok) held.push({ place: placed.place, source, proven: false });
        } else if (entry !== undefined && choice === 2) {
          entry.place.proven();
          entry.proven = true;
        } else if (entry !== undefined) {
          entry.place.release();
          entry.place.release();
          entry.place.proven();
          held.splice(at, 1);
        }
        expect(places.size).toBe(held.length);
        expect(places.sources).toBe(new Set(held.map(({ source }) => source).filter((source) => source !== null)).size);
      }
    }
  });
});

describe('what is no such message', () => {
  test.each([
    ['text', 'hello', 1008],
    ['nothing', new Uint8Array(0), 1008],
    ['a cut one', message(datagram(1, 148)).subarray(0, 100), 1008],
    ['too much', new Uint8Array(70_000), 1009],
  ])('ends the stream: %s', async (_name, bytes, code) => {
    const lab = await streamLab();
    const client = await lab.connect();
    client.webSocket.send(bytes);
    await until('the end', () => client.closed !== null);
    expect([code, 1006]).toContain(client.closed);
    expect(lab.relay.heard).toEqual([]);
    await until('it is counted', () => lab.server.counters.closedMalformed === 1);
  });

  test('of random bytes and frames never brings the server down', async () => {
    const lab = await streamLab({ perSourceMax: 1_000, unprovenPerSourceMax: 1_000 });
    for (let seed = 1; seed <= 60; seed++) {
      const prng = new Prng(seed);
      const client = await lab.connect();
      const bytes = prng.chance(0.5)
        ? new Uint8Array(prng.nextInt(0, 300))
        : message(datagram(1, prng.nextInt(32, 200)), datagram(4, prng.nextInt(32, 200))).slice();
      if (prng.chance(0.5)) prng.fill(bytes);
      else if (bytes.length > 0) bytes[prng.nextInt(0, bytes.length - 1)] = prng.nextInt(0, 255);
      if (prng.chance(0.5)) client.webSocket.send(bytes);
      // Below WebSocket: frames that are none.
      else (client.webSocket as unknown as { _socket: { write(data: Uint8Array): void } })._socket.write(bytes);
      if (prng.chance(0.3)) client.webSocket.terminate();
      else client.webSocket.close();
    }
    await until('all have gone', () => lab.server.streams === 0, 20_000);
    const client = await lab.connect();
    client.send(datagram(1, 148));
    await until('an answer', () => client.received.length === 1);
  });

  test('is no upgrade: a request without the headers of WebSocket is refused and takes no place', async () => {
    const lab = await streamLab({ unprovenPerSourceMax: 1 });
    for (let i = 0; i < 3; i++) {
      const { hostname, port } = new URL(lab.url);
      const socket = connectTcp(Number(port), hostname);
      let answer = '';
      socket.on('data', (data) => {
        answer += data;
      });
      socket.write('GET /v1/relay HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      await until('the refusal', () => answer.includes('\r\n'));
      expect(answer).toMatch(/^HTTP\/1.1 400 /);
      socket.destroy();
    }
    expect(lab.server.counters.badUpgrades).toBe(3);
    expect((await lab.connect()).closed).toBeNull();
  });
});

describe('the end', () => {
  test('of the server ends every stream, with a word', async () => {
    const lab = await streamLab();
    const clients = [await lab.connect(), await lab.connect()];
    clients[0]?.send(datagram(1, 148));
    await until('one is proven', () => lab.server.counters.proven === 1);
    await until('both are there', () => lab.server.streams === 2);
    lab.server.close();
    await until('both have gone', () => clients.every(({ closed }) => closed !== null));
    expect(clients.map(({ closed }) => closed)).toEqual([1001, 1001]);
    expect((await lab.connect()).closed).toBe(503);
  });
});
