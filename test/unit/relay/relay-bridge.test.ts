// The node's half of the WebSocket way, over real sockets against the real server half: to the data plane it is the relay's address on the
// loopback. Connects when there is something to send, again after a break, and drops rather than keeps.

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { endpointParts } from '../../../src/base/ip.ts';
import { OPENING_BYTES_MAX, RelayBridge, type RelayBridgeState } from '../../../src/daemon/relay-bridge.ts';
import { datagram, streamLab, until } from './stream-lab.ts';

interface Plane {
  readonly socket: UdpSocket;
  readonly port: number;
  readonly heard: Buffer[];
  send(bytes: Uint8Array): void;
}

/** What the data plane's socket would do. */
async function plane(bridge: () => RelayBridge): Promise<Plane> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  onTestFinished(() => {
    socket.close();
  });
  const heard: Buffer[] = [];
  socket.on('message', (bytes, from) => {
    expect(`${from.address}:${from.port}`).toBe(bridge().endpoint);
    heard.push(bytes);
  });
  return {
    socket,
    port: socket.address().port,
    heard,
    send: (bytes) => socket.send(bytes, endpointParts(bridge().endpoint).port, '127.0.0.1'),
  };
}

async function bridged(url: string): Promise<{ bridge: RelayBridge; plane: Plane; states: RelayBridgeState[] }> {
  const states: RelayBridgeState[] = [];
  let bridge: RelayBridge | null = null;
  const inner = await plane(() => bridge as RelayBridge);
  bridge = await RelayBridge.open({ url, planePort: inner.port, onChange: (state) => states.push(state) });
  onTestFinished(() => bridge?.close());
  return { bridge, plane: inner, states };
}

describe('a bridge', () => {
  test('connects when there is something to send, and carries both ways', async () => {
    const lab = await streamLab();
    const { bridge, plane: inner, states } = await bridged(lab.url);
    expect(bridge.status.state).toBe('idle');
    expect(lab.server.streams).toBe(0);
    inner.send(datagram(1, 148));
    await until('the response', () => inner.heard.length === 1);
    expect(inner.heard[0]?.length).toBe(92);
    for (let i = 0; i < 50; i++) inner.send(datagram(4, 200 + i));
    await until('fifty', () => lab.relay.heard.length === 51);
    expect(lab.relay.heard.slice(1).map(({ bytes }) => bytes.length)).toEqual(
      Array.from({ length: 50 }, (_, i) => 200 + i),
    );
    lab.relay.say(datagram(0x20, 1_452));
    await until('what is relayed', () => inner.heard.length === 2);
    expect(states).toEqual(['connecting', 'open']);
    expect(bridge.status).toMatchObject({ datagramsOut: 51, datagramsIn: 2, dropped: 0, lastFailure: null });
  });

  test('takes nothing from other sockets of the machine', async () => {
    const lab = await streamLab();
    const { bridge, plane: inner } = await bridged(lab.url);
    const other = await plane(() => bridge);
    other.send(datagram(1, 148));
    inner.send(datagram(1, 149));
    await until('one', () => lab.relay.heard.length === 1);
    expect(lab.relay.heard[0]?.bytes.length).toBe(149);
    bridge.setPlanePort(other.port);
    other.send(datagram(4, 60));
    await until('another', () => lab.relay.heard.length === 2);
    lab.relay.say(datagram(4, 61));
    await until('its answer', () => other.heard.length === 1);
  });

  test('keeps what came while it connected, but not without end', async () => {
    const lab = await streamLab({ unprovenDatagramsMax: 1_000 });
    const { bridge, plane: inner } = await bridged(lab.url);
    // In one turn: it is still connecting when the last of them comes.
    const count = 60;
    for (let i = 0; i < count; i++) inner.send(datagram(4, 1_400, i));
    await until('all are through or dropped', () => bridge.status.dropped + lab.relay.heard.length === count);
    expect(lab.relay.heard.length).toBeGreaterThanOrEqual(Math.floor(OPENING_BYTES_MAX / 1_402) - 1);
    const order = lab.relay.heard.map(({ bytes }) => bytes[10] as number);
    expect(order).toEqual([...new Set(order)].sort((one, other) => one - other));
    expect(order[0]).toBe(0);
  });

  test('comes back when the other end has ended it and there is more to send', async () => {
    const lab = await streamLab({ idleMs: 100 });
    const { bridge, plane: inner, states } = await bridged(lab.url);
    inner.send(datagram(1, 148));
    await until('the response', () => inner.heard.length === 1);
    await until('it is idle again', () => states.filter((state) => state === 'idle').length === 1);
    expect(bridge.status.lastFailure).toMatch(/1001/);
    expect(lab.server.streams).toBe(0);
    inner.send(datagram(1, 148));
    await until('another response', () => inner.heard.length === 2);
    expect(states.slice(0, 6)).toEqual(['connecting', 'open', 'waiting', 'idle', 'connecting', 'open']);
  });

  test('does not hammer a relay that is not there, nor keep what is for it', async () => {
    const http = createServer((_request, response) => response.writeHead(404).end());
    let asked = 0;
    http.on('upgrade', (_request, socket) => {
      asked++;
      socket.end('HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n');
    });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    onTestFinished(() => {
      http.closeAllConnections();
      http.close();
    });
    const { bridge, plane: inner } = await bridged(`http://127.0.0.1:${(http.address() as AddressInfo).port}`);
    const end = performance.now() + 1_500;
    let sent = 0;
    while (performance.now() < end) {
      inner.send(datagram(4, 100));
      sent++;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    // The first retry is within a second, the next ones later and later.
    expect(asked).toBeGreaterThanOrEqual(1);
    expect(asked).toBeLessThan(12);
    expect(bridge.status.lastFailure).toMatch(/HTTP 502/);
    await until('all are counted', () => bridge.status.dropped >= sent - 5);
  });

  test('looks anew at once when the network changed', async () => {
    const lab = await streamLab();
    const { bridge, plane: inner, states } = await bridged(lab.url);
    bridge.networkChanged();
    expect(states).toEqual([]);
    inner.send(datagram(1, 148));
    await until('it is open', () => bridge.status.state === 'open');
    bridge.networkChanged();
    await until('it is open again', () => states.filter((state) => state === 'open').length === 2);
    await until('the first has gone', () => lab.server.streams === 1);
    inner.send(datagram(1, 148));
    await until('a response', () => inner.heard.length >= 1);
  });

  test('leaves nothing behind', async () => {
    const lab = await streamLab();
    const { bridge, plane: inner } = await bridged(lab.url);
    inner.send(datagram(1, 148));
    await until('the response', () => inner.heard.length === 1);
    bridge.close();
    bridge.close();
    await until('the stream has gone', () => lab.server.streams === 0);
    expect(bridge.status.state).toBe('idle');
  });
});
