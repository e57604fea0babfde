// The host of one interface with the real engine, the reference plane and a real control socket: it comes up whole, serves,
// handles what the plane tells, and ends whole for every reason.

import { EventEmitter } from 'node:events';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { Instant } from '../../src/base/instant.ts';
import { nodeProvider } from '../../src/crypto/node.ts';
import { interfaceIndex, WgHost, type WgHostOptions } from '../../src/daemon/wg-host.ts';
import type { MemoryDataPlane } from '../../src/dataplane/dataplane.ts';
import { createReferencePlane } from '../../src/dataplane/reference/plane.ts';
import { StartError } from '../../src/service/start-error.ts';
import { ask, rememberingLog, temporaryDirectory, until } from './daemon-fixtures.ts';
import { key } from './uapi-fake-device.ts';

class Fixture {
  readonly directory = temporaryDirectory();
  readonly path = join(this.directory, 'wgtest.sock');
  readonly signals = new EventEmitter();
  readonly logged = rememberingLog();
  plane: MemoryDataPlane | null = null;
  planeClosed = 0;

  async start(extra: Partial<WgHostOptions> = {}): Promise<WgHost> {
    const host = await WgHost.start({
      peersMax: 1000,
      log: this.logged.log,
      idleTimeoutMs: Number.POSITIVE_INFINITY,
      uapiDirectory: this.directory,
      signals: this.signals,
      createPlane: (onWake) => {
        const plane = createReferencePlane({ crypto: nodeProvider, onWake });
        plane.io.setNow(1 as Instant);
        const close = plane.close.bind(plane);
        plane.close = () => {
          this.planeClosed++;
          close();
        };
        this.plane = plane;
        return { plane, ifname: 'wgtest' };
      },
      ...extra,
    });
    onTestFinished(() => host.stop('stopped'));
    return host;
  }

  expectNothingLeft(): void {
    expect(readdirSync(this.directory)).toEqual([]);
    expect(this.planeClosed).toBe(1);
    expect(this.signals.eventNames()).toEqual([]);
  }
}

it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('ends cleanly on %s', async (signal) => {
  const fixture = new Fixture();
  const host = await fixture.start();
  expect(await ask(fixture.path, 'set=1\nlisten_port=4\n\n')).toBe('errno=0\n\n');
  fixture.signals.emit(signal, signal);
  expect(await host.ended).toBe(signal);
  fixture.expectNothingLeft();
});

it('ends when its socket is deleted', async () => {
  const fixture = new Fixture();
  const host = await fixture.start();
  rmSync(fixture.path);
  expect(await host.ended).toBe('socketDeleted');
  fixture.expectNothingLeft();
});

it('tells the first reason when several come', async () => {
  const fixture = new Fixture();
  const host = await fixture.start();
  fixture.signals.emit('SIGTERM', 'SIGTERM');
  host.stop('stopped');
  expect(await host.ended).toBe('SIGTERM');
  fixture.expectNothingLeft();
});

it('removes its socket when the process exits by itself', async () => {
  const fixture = new Fixture();
  await fixture.start();
  fixture.signals.emit('exit', 1);
  expect(existsSync(fixture.path)).toBe(false);
});

it('leaves nothing behind when it cannot start', async () => {
  const first = new Fixture();
  await first.start();
  const second = new Fixture();
  await expect(second.start({ uapiDirectory: first.directory })).rejects.toThrow(StartError);
  second.expectNothingLeft();
  expect(await ask(first.path, 'get=1\n\n')).toContain('errno=0');
});

it('begins a handshake when the plane wakes it for a packet', async () => {
  const fixture = new Fixture();
  const host = await fixture.start();
  host.engine.linkUp(1 as Instant);
  const peer = `public_key=${key(1)}\nendpoint=192.0.2.1:5\nallowed_ip=10.0.0.0/8\n`;
  expect(await ask(fixture.path, `set=1\nprivate_key=${'48'.repeat(32)}\n${peer}\n`)).toBe('errno=0\n\n');
  const packet = new Uint8Array(20);
  packet.set([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
  fixture.plane?.io.tunInput(packet);
  const sent: number[] = [];
  await until(() => {
    sent.push(...(fixture.plane?.io.takeUdpOutput() ?? []).map(({ datagram }) => datagram.length));
    return sent.length > 0;
  });
  expect(sent).toEqual([148]);
});

it('knows interfaces by name', () => {
  expect(interfaceIndex('lo')).toBe(1);
  expect(interfaceIndex('nosuchif')).toBeNull();
  expect(interfaceIndex('../lo')).toBeNull();
});
