// Loading the addon: where it is looked for, what each failure says, and that it may live in several threads of one process,
// which come and go as they like.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import { candidates, explainLoad, libc, load, loadAddon } from '../../../src/dataplane/native/addon.ts';
import { explainOpen, explainSockets } from '../../../src/dataplane/native/explain.ts';
import { createMemoryNativePlane } from '../../../src/dataplane/native/memory-plane.ts';

const directory = mkdtempSync(join(tmpdir(), 'warren-addon-test-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('loading the addon', () => {
  it('prefers the file that was named, then the build, then what came prebuilt', () => {
    expect(candidates('/w', '/x/y.node')).toEqual(['/x/y.node']);
    expect(candidates('/w', '')).toEqual([
      '/w/build/Release/warren.node',
      `/w/prebuilds/linux-${process.arch}-${libc()}/warren.node`,
    ]);
  });

  it('finds out which C library there is without a report, which looks up the names of all sockets and waits', () => {
    const asked = vi.spyOn(process.report, 'getReport');
    try {
      const found = libc();
      expect(asked).not.toHaveBeenCalled();
      expect(found === 'glibc').toBe(JSON.stringify(process.report.getReport()).includes('glibcVersionRuntime'));
    } finally {
      asked.mockRestore();
    }
  });

  it('says how to build it when there is none', () => {
    const result = load([join(directory, 'nothing.node')]);
    expect(result).toMatchObject({ ok: false, message: expect.stringContaining('npm run build:native') });
  });

  it('says that a file is not an addon for this machine', () => {
    const path = join(directory, 'text.node');
    writeFileSync(path, 'this is no shared object, and it is long enough to be looked at as one by the linker');
    expect(load([path])).toMatchObject({ ok: false, message: expect.stringContaining(`not an addon for linux-`) });
  });

  it.each([
    ['libc.musl-x86_64.so.1: cannot open shared object file: No such file or directory', 'another C library'],
    ["/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found", 'newer system'],
    ['wrong ELF class: ELFCLASS32', 'not an addon for'],
    ['undefined symbol: napi_wonderful', 'newer Node'],
    ['failed to map segment from shared object', 'noexec'],
    ['something else', 'something else'],
  ])('turns "%s" into advice', (reason, advice) => {
    expect(explainLoad('/w/warren.node', reason)).toContain(advice);
  });

  it.each([
    [1, 'create the TUN interface (TUNSETIFF)', 'CAP_NET_ADMIN'],
    [2, 'open /dev/net/tun', '/dev/net/tun'],
    [19, 'open /dev/net/tun', 'modprobe tun'],
    [16, 'create the TUN interface (TUNSETIFF)', 'another name'],
    [38, 'find a ChaCha20-Poly1305 implementation', 'too old'],
  ])('turns errno %i at "%s" into advice', (code, step, advice) => {
    const message = explainOpen('wg0', { code, step });
    expect(message).toContain(advice);
    expect(message).toContain(step);
  });

  it.each([
    [38, 'find a ChaCha20-Poly1305 implementation', 'too old'],
    [24, 'open the deadline timer', 'ulimit -n'],
    [12, 'allocate receive buffers', 'ENOMEM'],
  ])('turns errno %i at "%s" of a plane without a TUN into advice', (code, step, advice) => {
    const message = explainSockets({ code, step });
    expect(message).toContain(advice);
    expect(message).toContain(step);
  });
});

describe('the addon in worker threads', () => {
  const addon = loadAddon();
  const path = addon.ok ? addon.path : '';

  /** Makes planes, uses them, and ends without closing them. */
  const script = `
    const { parentPort, workerData } = require('node:worker_threads');
    const module = { exports: {} };
    process.dlopen(module, workerData);
    const kept = [];
    for (let i = 0; i < 4; i++) {
      const plane = module.exports.openMemory({ peersMax: 10, mtu: 1420, slabSlots: 4 }, () => {});
      plane.addPeer(true);
      kept.push(plane, plane.slabMemory(), plane.recordChunk(0), plane.scratchMemory());
    }
    parentPort.postMessage(kept.length);
    setInterval(() => kept[0].setNow(1), 1);
  `;

  it('comes and goes with its threads, and stays where it is still used', async () => {
    const plane = createMemoryNativePlane();
    const peer = plane.addPeer({ roaming: true });
    for (let round = 0; round < 3; round++) {
      const workers = [0, 1].map(() => new Worker(script, { eval: true, workerData: path }));
      const made = workers.map(
        (worker) =>
          new Promise((resolve, reject) => {
            worker.once('message', resolve);
            worker.once('error', reject);
          }),
      );
      expect(await Promise.all(made)).toEqual([16, 16]);
      for (const worker of workers) await worker.terminate();
    }
    plane.io.setNow(5 as Instant);
    expect(plane.now()).toBe(5);
    expect(plane.canSend(peer, plane.now())).toBe(false);
    plane.close();
  });

  it('keeps what JavaScript still looks at after the plane is closed', () => {
    const plane = createMemoryNativePlane();
    const peer = plane.addPeer({ roaming: true });
    const { view, offset } = plane.record(peer);
    plane.close();
    plane.close();
    expect(view[offset]).toBe(0);
    expect(plane.slab.every((byte) => byte === 0)).toBe(true);
    expect(plane.totals().wakeUps).toBe(0);
    expect(() => plane.addPeer({ roaming: true })).toThrow('closed');
    expect(() => plane.canSend(peer, plane.now())).toThrow('exists');
  });

  it('refuses arguments that are not what they should be, and goes on', () => {
    if (!addon.ok) throw new Error(addon.message);
    const opened = addon.addon.openMemory({ peersMax: 4, mtu: 1420, slabSlots: 4 }, () => {});
    if ('code' in opened) throw new Error(opened.step);
    const call = (name: string, ...values: unknown[]): unknown =>
      (Reflect.get(opened, name) as (...given: unknown[]) => unknown).apply(opened, values);
    expect(() => call('addPeer')).toThrow('missing');
    expect(() => call('addPeer', 'yes')).toThrow('boolean');
    expect(() => call('removePeer', 3)).toThrow('exists');
    expect(() => call('sendTo', [1, 2])).toThrow('Uint8Array');
    expect(() => call('recordChunk', 5000)).toThrow('exists');
    expect(() => call('status')).toThrow('live');
    expect(() => call('release', 1)).toThrow('polled');
    expect(() => (Reflect.get(opened, 'now') as () => number).call({})).toThrow();
    expect(opened.addPeer(true)).toBe(0);
    opened.close();
  });
});
