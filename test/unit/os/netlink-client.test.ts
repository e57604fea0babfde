// Requests over one socket: whose answer is whose, lists that change meanwhile, losses, silence, and the end.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { concat, readU32le } from '../../../src/base/bytes.ts';
import {
  LIST_TRIES_MAX,
  NetlinkClient,
  REQUEST_TIMEOUT_MS,
  REQUESTS_WAITING_MAX,
} from '../../../src/daemon/os/netlink/client.ts';
import {
  listAddresses,
  readInterfaceAddress,
  setLinkMtu,
  setLinkUp,
} from '../../../src/daemon/os/netlink/rtnetlink.ts';
import type { NativeFailure, NativeNetlink } from '../../../src/dataplane/native/addon.ts';
import * as kernel from './recorded.ts';

const EPERM = 1;
const ENOBUFS = 105;

/** Answers as it is told, like the kernel before `send` returns; or later, by `arrive`. */
class FakeSocket implements NativeNetlink {
  readonly sent: Uint8Array[] = [];
  readonly queue: (Uint8Array | NativeFailure)[] = [];
  answer: (sequence: number) => readonly (Uint8Array | NativeFailure)[] = () => [];
  sendFails: NativeFailure | null = null;
  onReadable: () => void = () => {};
  armed = false;
  closed = false;

  send(datagram: Uint8Array): NativeFailure | null {
    if (this.sendFails !== null) return this.sendFails;
    this.sent.push(datagram.slice());
    this.queue.push(...this.answer(readU32le(datagram, 8)));
    return null;
  }
  receive(): Uint8Array | NativeFailure | null {
    return this.queue.shift() ?? null;
  }
  arm(): void {
    this.armed = true;
  }
  close(): void {
    this.closed = true;
  }
  arrive(...datagrams: (Uint8Array | NativeFailure)[]): void {
    this.queue.push(...datagrams);
    if (!this.armed) return;
    this.armed = false;
    this.onReadable();
  }
}

/** A recorded datagram as an answer to `sequence`, with more flags. */
function to(sequence: number, datagram: Uint8Array, flags = 0): Uint8Array {
  const copy = datagram.slice();
  const view = new DataView(copy.buffer);
  view.setUint32(8, sequence, true);
  view.setUint16(6, view.getUint16(6, true) | flags, true);
  return copy;
}

function acknowledge(sequence: number): Uint8Array {
  const bytes = to(sequence, kernel.NO_SUCH_DEVICE);
  bytes.fill(0, 16, 20);
  return bytes;
}

let socket: FakeSocket;
let client: NetlinkClient;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  socket = new FakeSocket();
  const opened = NetlinkClient.open((onReadable) => {
    socket.onReadable = onReadable;
    return socket;
  });
  if (!(opened instanceof NetlinkClient)) throw new Error(opened.step);
  client = opened;
});

afterEach(() => {
  client.close();
  vi.useRealTimers();
});

const INTERRUPTED = 0x10;
const list = () => client.request(listAddresses(), readInterfaceAddress);
const addressesOf = (result: Awaited<ReturnType<typeof list>>): readonly string[] | string =>
  result.ok ? result.found.map((one) => one.address) : result.failure.errno;

describe('a request', () => {
  it('is answered without a wait when the answer is there already', async () => {
    socket.answer = (sequence) => [acknowledge(sequence)];
    expect(await client.change(setLinkUp(1, true))).toBeNull();
    expect(socket.armed).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is answered later when the answer comes later', async () => {
    const result = list();
    expect(socket.armed).toBe(true);
    socket.arrive(concat(to(1, kernel.USABLE), to(1, kernel.TENTATIVE)));
    socket.arrive(to(1, kernel.DONE));
    expect(addressesOf(await result)).toEqual(['2001:db8::5', 'fe80::fc8f:bff:fe41:9145']);
  });

  it("fails with the kernel's number and words", async () => {
    socket.answer = (sequence) => [to(sequence, kernel.NO_SUCH_DEVICE_IN_WORDS)];
    expect(await client.change(setLinkUp(1, true))).toEqual({ errno: 'ENODEV', reason: 'ipv4: Device not found' });
  });

  it('fails when it cannot be sent', async () => {
    socket.sendFails = { code: EPERM, step: 'send to netlink' };
    expect(await client.change(setLinkUp(1, true))).toEqual({ errno: 'EPERM', reason: null });
  });

  it('waits for those before it, and gets its own answer', async () => {
    const first = client.change(setLinkMtu(1, 1300));
    const second = client.change(setLinkMtu(1, 1400));
    expect(socket.sent).toHaveLength(1);
    socket.arrive(to(1, kernel.NO_SUCH_DEVICE));
    expect(await first).toMatchObject({ errno: 'ENODEV' });
    expect(socket.sent).toHaveLength(2);
    socket.arrive(acknowledge(2));
    expect(await second).toBeNull();
  });

  it('that nobody answers fails in time, and its late answer is nobody’s', async () => {
    const first = client.change(setLinkMtu(1, 1300));
    vi.advanceTimersByTime(REQUEST_TIMEOUT_MS);
    expect(await first).toMatchObject({ errno: 'ETIMEDOUT' });
    const second = list();
    socket.arrive(acknowledge(1), to(2, kernel.USABLE), to(2, kernel.DONE));
    expect(addressesOf(await second)).toEqual(['2001:db8::5']);
  });

  it('is not given up while its answer comes, nor because nobody looked', async () => {
    const slow = list();
    for (let i = 0; i < 5; i++) {
      vi.advanceTimersByTime(REQUEST_TIMEOUT_MS - 1);
      socket.arrive(to(1, kernel.USABLE));
    }
    // It lies there, but the event loop stood still until the time was over.
    socket.armed = false;
    socket.arrive(to(1, kernel.DONE));
    vi.advanceTimersByTime(REQUEST_TIMEOUT_MS);
    expect(addressesOf(await slow)).toHaveLength(5);
  });

  it('whose answer was lost fails, and the next goes on', async () => {
    const first = list();
    socket.arrive({ code: ENOBUFS, step: 'read from netlink' });
    expect(addressesOf(await first)).toBe('ENOBUFS');
    socket.answer = (sequence) => [acknowledge(sequence)];
    expect(await client.change(setLinkUp(1, true))).toBeNull();
  });

  it('is refused when too many wait', async () => {
    const waiting = Array.from({ length: REQUESTS_WAITING_MAX + 1 }, () => client.change(setLinkUp(1, true)));
    expect(await client.change(setLinkUp(1, true))).toEqual({ errno: 'ENOBUFS', reason: null });
    client.close();
    expect(new Set((await Promise.all(waiting)).map((failure) => failure?.errno))).toEqual(new Set(['EBADF']));
  });
});

describe('a list', () => {
  it('that changed while it was told is asked for again, and only the last counts', async () => {
    socket.answer = (sequence) =>
      sequence === 1
        ? [to(sequence, kernel.POINT_TO_POINT, INTERRUPTED), to(sequence, kernel.DONE)]
        : [to(sequence, kernel.USABLE), to(sequence, kernel.DONE)];
    expect(addressesOf(await list())).toEqual(['2001:db8::5']);
    expect(socket.sent).toHaveLength(2);
  });

  it('that keeps changing is given as it is in the end', async () => {
    socket.answer = (sequence) => [to(sequence, kernel.USABLE, INTERRUPTED), to(sequence, kernel.DONE)];
    expect(addressesOf(await list())).toEqual(['2001:db8::5']);
    expect(socket.sent).toHaveLength(LIST_TRIES_MAX);
  });

  it('that is long does not keep other work waiting', async () => {
    socket.answer = (sequence) => [
      ...Array.from({ length: 1000 }, () => to(sequence, kernel.USABLE)),
      to(sequence, kernel.DONE),
    ];
    let turns = 0;
    const count = (): void => {
      turns++;
      immediate = setImmediate(count);
    };
    let immediate = setImmediate(count);
    const result = await list();
    clearImmediate(immediate);
    expect(result.ok && result.found.length).toBe(1000);
    expect(turns).toBeGreaterThan(5);
  });
});

describe('the end', () => {
  it('is told to whoever waits and whoever comes later, and leaves no timer', async () => {
    const waiting = [list(), list()];
    client.close();
    client.close();
    expect((await Promise.all(waiting)).map(addressesOf)).toEqual(['EBADF', 'EBADF']);
    expect(addressesOf(await list())).toBe('EBADF');
    expect(socket.closed).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });
});
