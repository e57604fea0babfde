// What a service manager is told, in which order, and what happens when it is busy, gone, or not there at all.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { NativeFailure } from '../../../src/dataplane/native/addon.ts';
import { AGAIN_AFTER_MS, ServiceNotifier, WAITING_MAX } from '../../../src/service/notify.ts';

const EAGAIN = { code: 11, step: 'send to the unix socket' };
const ECONNREFUSED = { code: 111, step: 'send to the unix socket' };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

class Manager {
  readonly told: string[] = [];
  failure: NativeFailure | null = null;
  readonly send = (path: string, bytes: Uint8Array): NativeFailure | null => {
    if (this.failure === null) this.told.push(`${path}: ${new TextDecoder().decode(bytes)}`);
    return this.failure;
  };
}

function start(env: NodeJS.ProcessEnv): { readonly manager: Manager; readonly notifier: ServiceNotifier } {
  const manager = new Manager();
  return { manager, notifier: new ServiceNotifier({ env, send: manager.send }) };
}

describe('a service manager', () => {
  it('is told what happens, a line of text at most', () => {
    const { manager, notifier } = start({ NOTIFY_SOCKET: '@abstract' });
    expect(notifier.active).toBe(true);
    notifier.status('connecting');
    notifier.ready('connected as\nREADY=0\x1b');
    notifier.stopping();
    expect(manager.told).toEqual([
      '@abstract: STATUS=connecting',
      '@abstract: READY=1\nSTATUS=connected as READY=0 ',
      '@abstract: STOPPING=1',
    ]);
  });

  it('hears twice within its deadline that the process is alive', () => {
    const { manager, notifier } = start({ NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '20000000' });
    vi.advanceTimersByTime(35_000);
    expect(manager.told).toEqual(Array(3).fill('/run/notify: WATCHDOG=1'));
    notifier.close();
    vi.advanceTimersByTime(60_000);
    expect(manager.told).toHaveLength(3);
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each([
    ['another process is watched', { WATCHDOG_USEC: '20000000', WATCHDOG_PID: '1' }],
    ['there is no watchdog', {}],
    ['its time is no time', { WATCHDOG_USEC: 'soon' }],
  ])('hears nothing unasked when %s', (_what, env) => {
    start({ NOTIFY_SOCKET: '/run/notify', ...env });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('hears the same things in the same order when it was busy', () => {
    const { manager, notifier } = start({ NOTIFY_SOCKET: '/run/notify' });
    manager.failure = EAGAIN;
    notifier.ready();
    notifier.status('one');
    expect(notifier.failure).toContain('EAGAIN');
    vi.advanceTimersByTime(AGAIN_AFTER_MS * 3);
    manager.failure = null;
    notifier.stopping();
    vi.advanceTimersByTime(AGAIN_AFTER_MS);
    expect(manager.told.map((line) => line.split(': ')[1])).toEqual(['READY=1', 'STATUS=one', 'STOPPING=1']);
    expect(notifier.failure).toBeNull();
  });

  it('that never reads costs no more than a few words', () => {
    const { manager, notifier } = start({ NOTIFY_SOCKET: '/run/notify' });
    manager.failure = EAGAIN;
    for (let i = 0; i < 1000; i++) notifier.status(`${i}`);
    expect(vi.getTimerCount()).toBe(1);
    manager.failure = null;
    vi.advanceTimersByTime(AGAIN_AFTER_MS);
    expect(manager.told).toHaveLength(WAITING_MAX);
    expect(manager.told.at(-1)).toContain('999');
  });

  it('that is gone is not waited for', () => {
    const { manager, notifier } = start({ NOTIFY_SOCKET: '/run/notify' });
    manager.failure = ECONNREFUSED;
    notifier.ready();
    expect(notifier.failure).toContain('ECONNREFUSED');
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('without a service manager', () => {
  it.each([{}, { NOTIFY_SOCKET: '' }, { NOTIFY_SOCKET: 'vsock:2:1' }, { NOTIFY_SOCKET: '/' }])(
    'nothing is sent: %o',
    (env) => {
      const { manager, notifier } = start({ ...env, WATCHDOG_USEC: '20000000' });
      expect(notifier.active).toBe(false);
      notifier.ready();
      notifier.stopping();
      expect(manager.told).toEqual([]);
      expect(vi.getTimerCount()).toBe(0);
    },
  );
});

describe('children', () => {
  it('do not inherit the manager', () => {
    const env = { NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '1', WATCHDOG_PID: '1', PATH: '/bin' };
    start(env);
    expect(env).toEqual({ PATH: '/bin' });
  });
});

describe('the addon', () => {
  it('is asked to send, and a socket that is not there is told as such', () => {
    const notifier = new ServiceNotifier({ env: { NOTIFY_SOCKET: '/nowhere/warren-notify-test' } });
    notifier.ready();
    expect(notifier.failure).toBe('send to the unix socket: ENOENT');
  });
});
