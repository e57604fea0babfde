// Netlink sockets and the watch on the clock as the addon gives them to JavaScript: waking, ending in any order, in any
// thread, and arguments that are not what they should be.

import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { listLinks } from '../../../src/daemon/os/netlink/rtnetlink.ts';
import { loadAddon, type NativeAddon, type NativeNetlink } from '../../../src/dataplane/native/addon.ts';

const NETLINK_ROUTE = 0;
const EBADF = 9;
const EPROTONOSUPPORT = 93;

const loaded = loadAddon();
if (!loaded.ok) throw new Error(loaded.message);
const addon: NativeAddon = loaded.addon;
const addonPath = loaded.path;

function open(onReadable: () => void): NativeNetlink {
  const opened = addon.openNetlink({ protocol: NETLINK_ROUTE, groups: 0, receiveBufferBytes: 0 }, onReadable);
  if ('code' in opened) throw new Error(opened.step);
  return opened;
}

function drain(socket: NativeNetlink): number {
  let datagrams = 0;
  while (socket.receive() instanceof Uint8Array) datagrams++;
  return datagrams;
}

/** Lets everything that is due be done; what comes from another thread may need some more of it. */
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describe('a netlink socket', () => {
  it('wakes JavaScript once for each time that it is armed', async () => {
    let calls = 0;
    let wake: () => void = () => {};
    const next = (): Promise<void> => new Promise((resolve) => (wake = resolve));
    const socket = open(() => {
      calls++;
      wake();
    });
    const first = next();
    expect(socket.send(listLinks().seal(1))).toBeNull();
    await first;
    await turn();
    expect(calls).toBe(1);
    const second = next();
    socket.arm();
    await second;
    expect(drain(socket)).toBeGreaterThan(0);
    socket.arm();
    await turn();
    expect(calls).toBe(2);
    socket.close();
  });

  it('is quiet after its end, and says so when it is used', async () => {
    let calls = 0;
    const socket = open(() => calls++);
    socket.send(listLinks().seal(1));
    socket.close();
    socket.close();
    socket.arm();
    expect(socket.send(listLinks().seal(2))).toMatchObject({ code: EBADF });
    expect(socket.receive()).toMatchObject({ code: EBADF });
    await turn();
    expect(calls).toBe(0);
  });

  it('may be closed by the function that it calls', async () => {
    const socket = await new Promise<NativeNetlink>((resolve) => {
      const made: NativeNetlink = open(() => {
        made.close();
        resolve(made);
      });
      made.send(listLinks().seal(1));
    });
    expect(socket.receive()).toMatchObject({ code: EBADF });
  });

  it('that cannot be opened is a value', () => {
    expect(addon.openNetlink({ protocol: 31, groups: 0, receiveBufferBytes: 0 }, () => {})).toEqual({
      code: EPROTONOSUPPORT,
      step: 'open a netlink socket',
    });
  });

  it('refuses arguments that are not what they should be, and goes on', () => {
    const socket = open(() => {});
    const clock = addon.watchClock(() => {});
    if ('code' in clock) throw new Error(clock.step);
    const call = (target: object, name: string, self: object, ...values: unknown[]): unknown =>
      (Reflect.get(target, name) as (...given: unknown[]) => unknown).apply(self, values);
    expect(() => call(addon, 'openNetlink', addon, {}, () => {})).toThrow('number');
    expect(() => call(addon, 'openNetlink', addon, { protocol: 0 })).toThrow('expected');
    expect(() => call(addon, 'watchClock', addon, 'now')).toThrow('function');
    expect(() => call(addon, 'unixDatagram', addon, '/x')).toThrow('expected');
    expect(() => call(addon, 'unixDatagram', addon, 7, new Uint8Array(1))).toThrow('string');
    expect(() => call(addon, 'unixDatagram', addon, '/x', [1])).toThrow('Uint8Array');
    expect(() => call(socket, 'send', socket)).toThrow('missing');
    expect(() => call(socket, 'send', socket, 'text')).toThrow('Uint8Array');
    // One kind of object is not another.
    expect(() => call(socket, 'receive', clock)).toThrow();
    expect(() => call(clock, 'acknowledge', socket)).toThrow();
    expect(() => Reflect.construct(socket.constructor as new (...given: unknown[]) => unknown, [{}])).toThrow(
      'made by',
    );
    expect(socket.receive()).toBeNull();
    socket.close();
    clock.close();
  });
});

describe('a path', () => {
  it('longer than any address is a value', () => {
    expect(addon.unixDatagram(`/${'a'.repeat(500)}`, new Uint8Array(1))).toMatchObject({
      step: 'address the unix socket',
    });
  });
});

describe('in worker threads', () => {
  /** Opens and uses them, keeps some open and lets go of others, and ends as it is told. */
  const script = `
    const { parentPort, workerData } = require('node:worker_threads');
    const module = { exports: {} };
    process.dlopen(module, workerData.path);
    const kept = [];
    let heard = 0;
    for (let i = 0; i < 8; i++) {
      const socket = module.exports.openNetlink({ protocol: 0, groups: 0x551, receiveBufferBytes: 0 }, () => {
        heard++;
        if (heard === 6) parentPort.postMessage(heard);
      });
      socket.send(workerData.request);
      kept.push(socket, module.exports.watchClock(() => {}));
    }
    // Two of each are left to the garbage collector.
    kept.splice(2, 4);
    globalThis.kept = kept;
    if (workerData.stay) setInterval(() => {}, 1000);
  `;

  it('they go with their thread, whether it is ended or ends', async () => {
    const own = open(() => {});
    for (const stay of [true, false]) {
      const workers = [0, 1].map(
        () =>
          new Worker(script, {
            eval: true,
            workerData: { path: addonPath, request: listLinks().seal(1).slice(), stay },
          }),
      );
      const ended = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
      if (stay) {
        await Promise.all(
          workers.map(
            (worker) =>
              new Promise((resolve, reject) => {
                worker.once('message', resolve);
                worker.once('error', reject);
              }),
          ),
        );
        for (const worker of workers) await worker.terminate();
      }
      // Without anything else to do the thread ends by itself: these objects hold nobody.
      expect(await Promise.all(ended)).toEqual(stay ? [1, 1] : [0, 0]);
    }
    expect(own.send(listLinks().seal(1))).toBeNull();
    expect(drain(own)).toBeGreaterThan(0);
    own.close();
  });
});
