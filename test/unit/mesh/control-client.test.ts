// The node's side of the control channel: what it says first, when it comes back, when it gives up, and what a person who
// waits for it is told.

import { describe, expect, test } from 'vitest';
import { type Instant, NEVER } from '../../../src/base/instant.ts';
import type { Endpoint } from '../../../src/base/ip.ts';
import { ASK_AGAIN_MS } from '../../../src/mesh/control-client.ts';
import { FATAL_ERRORS, UNDOABLE_ERRORS } from '../../../src/protocol/control.ts';
import type { Candidate } from '../../../src/protocol/values.ts';
import { ControlFixture, EPOCH } from './control-fixture.ts';

const at = (n: number): Candidate => ({ kind: 'host', endpoint: `192.0.2.${n}:51820` as Endpoint });

describe('a start', () => {
  test('connects at once and registers with the auth key, the hostname and where the netmap ends', () => {
    const f = new ControlFixture();
    f.client.setCandidates([at(1)], 51_820, f.now);
    f.start({ authKey: 'secret-of-the-link', resume: { epoch: EPOCH as never, seq: 9 } });
    expect(f.take()).toEqual(['connect current']);
    expect(f.client.status().step).toBe('connecting');
    f.open();
    expect(f.lastRegister).toMatchObject({
      authKey: 'secret-of-the-link',
      hostname: 'here',
      resume: { epoch: EPOCH, seq: 9 },
      candidates: [at(1)],
      listenPort: 51_820,
    });
  });

  test('shows a person each step until it is connected', () => {
    const f = new ControlFixture();
    const steps: string[] = [];
    const note = (): void => {
      steps.push(`${f.client.status().state} ${f.client.status().step}`);
    };
    note();
    f.start();
    note();
    f.open();
    note();
    f.say({ type: 'pending', message: 'this machine waits for approval', help: 'warren nodes approve here' });
    note();
    expect(f.client.status().message).toBe('this machine waits for approval: warren nodes approve here');
    f.welcome();
    note();
    f.snapshot(3);
    note();
    expect(steps).toEqual([
      'offline stopped',
      'connecting connecting',
      'connecting registering',
      'connecting pending',
      'connected netmap',
      'connected connected',
    ]);
    expect(f.changes).toBeGreaterThanOrEqual(5);
    expect(f.client.status().position).toEqual({ epoch: EPOCH, seq: 3 });
  });

  test('is connected with the welcome when its netmap is of the same history', () => {
    const f = new ControlFixture();
    f.start({ resume: { epoch: EPOCH as never, seq: 9 } });
    f.open();
    f.welcome();
    expect(f.client.status().step).toBe('connected');
    f.say({ type: 'delta', from: 9, seq: 11, ops: [] });
    expect(f.take().at(-1)).toBe('delta 9-11');
  });

  test('waits for a snapshot when the controller has another history, as after a backup was restored', () => {
    const f = new ControlFixture();
    f.start({ resume: { epoch: EPOCH as never, seq: 9 } });
    f.open();
    f.welcome({ epoch: 'FFFFFFFFFFFFFFFF' });
    expect(f.client.status().step).toBe('netmap');
    expect(f.client.status().position).toBeNull();
  });

  test('sends the auth key no more once the controller knows us, pending or welcome', () => {
    for (const answer of ['pending', 'welcome']) {
      const f = new ControlFixture();
      f.start({ authKey: 'secret-of-the-link' });
      f.open();
      if (answer === 'pending') f.say({ type: 'pending', message: 'wait', help: '' });
      else f.welcome();
      f.closed();
      f.run(1000);
      f.open();
      expect(f.sent.filter(({ type }) => type === 'register').length).toBe(2);
      expect(f.lastRegister.authKey).toBeNull();
    }
  });

  test('sends it again as long as nothing has answered', () => {
    const f = new ControlFixture();
    f.start({ authKey: 'secret-of-the-link' });
    f.open();
    f.closed();
    f.run(1000);
    f.open();
    expect(f.lastRegister.authKey).toBe('secret-of-the-link');
  });

  test('gives up a connection that does not open, and one that does not answer', () => {
    const f = new ControlFixture();
    f.start();
    f.run(10_000);
    expect(f.take().slice(0, 2)).toEqual(['connect current', 'close']);
    expect(f.client.status().lastError?.code).toBe('timeout');
    f.run(1000);
    f.take();
    f.open();
    f.run(15_000);
    expect(f.take().slice(0, 2)).toEqual(['send register', 'close']);
    expect(f.client.status().lastError?.message).toBe('the controller did not answer the registration within 15 s');
  });
});

describe('retries', () => {
  test('of ten thousand nodes are spread evenly over the first second', () => {
    const buckets = new Array<number>(10).fill(0);
    for (let seed = 0; seed < 10_000; seed++) {
      const f = new ControlFixture(seed);
      f.start();
      f.closed('unreachable');
      const delay = f.client.nextDeadline() - f.now;
      buckets[Math.floor(delay / 100)] = (buckets[Math.floor(delay / 100)] ?? 0) + 1;
    }
    expect(buckets.length).toBe(10);
    for (const count of buckets) {
      expect(count).toBeGreaterThan(850);
      expect(count).toBeLessThan(1150);
    }
  });

  test('back off to a minute at most, each anywhere below its ceiling', () => {
    const longest: number[] = [];
    const shortest: number[] = [];
    for (let seed = 0; seed < 300; seed++) {
      const f = new ControlFixture(seed);
      f.start();
      for (let n = 0; n < 12; n++) {
        f.closed('unreachable');
        const delay = f.client.nextDeadline() - f.now;
        longest[n] = Math.max(longest[n] ?? 0, delay);
        shortest[n] = Math.min(shortest[n] ?? NEVER, delay);
        f.run(delay);
      }
    }
    const ceilings = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60].map((seconds) => seconds * 1000);
    for (const [n, ceiling] of ceilings.entries()) {
      expect(longest[n]).toBeLessThanOrEqual(ceiling);
      expect(longest[n]).toBeGreaterThan(ceiling * 0.9);
      expect(shortest[n]).toBeLessThan(ceiling * 0.1);
      if (n > 0) expect(shortest[n]).toBeGreaterThanOrEqual(100);
    }
  });

  test('begin anew after a connection that lasted, so that a restart costs a second; not after one that did not', () => {
    const f = new ControlFixture();
    f.start();
    for (let n = 0; n < 8; n++) {
      f.closed('unreachable');
      f.reconnect();
    }
    f.open();
    f.welcome();
    f.run(1_000);
    f.closed();
    const short = f.client.nextDeadline() - f.now;
    f.reconnect();
    f.open();
    f.welcome();
    f.run(6_000);
    f.closed();
    const long = f.client.nextDeadline() - f.now;
    expect(long).toBeLessThan(1_000);
    // 60 s ceiling: with this seed far above the first retry's.
    expect(short).toBeGreaterThan(1_000);
  });

  test('begin anew after a controller that says that it goes: its next one is a moment away', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const f = new ControlFixture(seed);
      f.start();
      for (let n = 0; n < 8; n++) {
        f.closed('unreachable');
        f.reconnect();
      }
      f.open();
      f.error('goingAway');
      expect(f.client.nextDeadline() - f.now).toBeLessThan(1_000);
    }
  });

  test('wait as long as the controller asks, and longer when another machine has taken our place', () => {
    const f = new ControlFixture();
    f.start();
    f.open();
    f.error('rateLimited', { retryAfterMs: 20_000 });
    const delay = f.client.nextDeadline() - f.now;
    expect(delay).toBeGreaterThanOrEqual(20_000);
    expect(delay).toBeLessThan(21_000);
    let longest = 0;
    for (let seed = 0; seed < 50; seed++) {
      const g = new ControlFixture(seed).connected();
      g.error('replaced');
      longest = Math.max(longest, g.client.nextDeadline() - g.now);
    }
    expect(longest).toBeGreaterThan(8_000);
  });

  test('come at once when the network changes, but not in a storm', () => {
    const f = new ControlFixture();
    f.start();
    for (let n = 0; n < 6; n++) {
      f.closed('unreachable');
      f.reconnect();
    }
    f.closed('unreachable');
    f.run(300);
    const before = f.connects.length;
    f.client.networkChanged(f.now);
    expect(f.connects.length).toBe(before + 1);
    for (let n = 0; n < 50; n++) {
      f.run(20);
      f.client.networkChanged(f.now);
    }
    // A second of changes: four attempts, and one that was due.
    expect(f.connects.length - before).toBeLessThanOrEqual(6);
    expect(f.connects.length - before).toBeGreaterThanOrEqual(3);
  });

  test('of a connection that is over change nothing', () => {
    const f = new ControlFixture().connected();
    const old = f.connection;
    f.closed();
    f.run(1000);
    f.take();
    f.client.opened(old, f.now);
    f.client.heard(old, f.now);
    f.client.closed(old, { code: 'closed', message: 'late' }, f.now);
    f.say({ type: 'delta', from: 5, seq: 6, ops: [] }, old);
    expect(f.take()).toEqual([]);
    expect(f.client.status().step).toBe('connecting');
  });
});

describe('a refusal', () => {
  test('that a person has to act on ends the trying and says why; a start tries again', () => {
    for (const code of FATAL_ERRORS.filter((one) => !UNDOABLE_ERRORS.includes(one))) {
      const f = new ControlFixture();
      f.start({ authKey: 'secret-of-the-link' });
      f.open();
      f.error(code);
      expect(f.take().at(-1)).toBe('close');
      expect(f.client.status()).toMatchObject({
        state: 'offline',
        step: 'failed',
        problem: { code, message: `because of ${code}`, help: 'do this' },
      });
      expect(f.client.nextDeadline()).toBe(NEVER);
      f.client.networkChanged(f.now);
      expect(f.client.nextDeadline()).toBe(NEVER);
      f.start();
      expect(f.take()).toEqual(['connect current']);
      expect(f.client.status().problem).toBeNull();
    }
  });

  test('that an administrator can undo is asked about now and then, without the link, until it is undone', () => {
    for (const code of UNDOABLE_ERRORS) {
      const f = new ControlFixture().connected();
      f.take();
      f.error(code);
      expect(f.take()).toEqual(['close']);
      for (let round = 0; round < 5; round++) {
        f.run(ASK_AGAIN_MS - 1);
        expect(f.take()).toEqual([]);
        f.run(ASK_AGAIN_MS + 1);
        expect(f.take()).toEqual(['connect current']);
        // Nobody takes it for a new attempt: it is still shut out.
        expect(f.client.status().problem).toMatchObject({ code });
        f.open();
        expect(f.sent.at(-1)).toMatchObject({ type: 'register', authKey: null, resume: null });
        f.error(code);
        f.take();
        expect(f.client.status()).toMatchObject({ state: 'offline', step: 'failed', problem: { code } });
      }
      f.run(2 * ASK_AGAIN_MS);
      f.open();
      f.welcome();
      expect(f.client.status()).toMatchObject({ state: 'connected', step: 'netmap', problem: null, lastError: null });
    }
  });

  test('that passes is tried again, one from a newer controller too', () => {
    for (const code of ['internal', 'goingAway', 'malformed', 'someNewCode']) {
      const f = new ControlFixture().connected();
      f.error(code);
      expect(f.client.status()).toMatchObject({ step: 'backoff', lastError: { code, message: `because of ${code}` } });
      f.run(1000);
      expect(f.take()).toContain('connect current');
    }
  });

  test('of one request does not end the connection', () => {
    const f = new ControlFixture().connected();
    f.error('rateLimited');
    expect(f.client.status().step).toBe('connected');
    expect(f.take()).toEqual([]);
  });
});

describe('liveness', () => {
  test('is lost after three ping intervals of silence, and kept by any sign', () => {
    const f = new ControlFixture().connected();
    for (let n = 0; n < 20; n++) {
      f.run(25_000);
      f.client.heard(f.connection, f.now);
    }
    expect(f.client.status().step).toBe('connected');
    f.run(29_999);
    expect(f.take()).toEqual([]);
    f.run(1);
    expect(f.take()).toEqual(['close']);
    expect(f.client.status().lastError?.code).toBe('silent');
  });

  test('is asked for when the network changes: silent, and there is a new connection after 1.5 s', () => {
    const f = new ControlFixture().connected();
    f.run(60);
    f.client.networkChanged(f.now);
    expect(f.take()).toEqual(['probe']);
    f.run(100);
    f.client.heard(f.connection, f.now);
    f.run(5_000);
    expect(f.take()).toEqual([]);
    f.client.networkChanged(f.now);
    f.run(1_500);
    expect(f.take()).toEqual(['probe', 'close', 'connect current']);
  });

  test('of a client that is stopped or has failed needs no deadline', () => {
    const f = new ControlFixture().connected();
    f.client.stop(null, f.now);
    expect(f.client.nextDeadline()).toBe(NEVER);
    expect(f.take()).toEqual(['close']);
  });
});

describe('the netmap', () => {
  test('goes on from delta to delta, and a reconnect resumes where it ended', () => {
    const f = new ControlFixture().connected(5);
    f.say({ type: 'delta', from: 5, seq: 7, ops: [], ack: true });
    expect(f.take()).toEqual(['delta 5-7', 'send ack']);
    f.closed();
    f.run(1000);
    f.open();
    expect(f.lastRegister.resume).toEqual({ epoch: EPOCH, seq: 7 });
  });

  test('with a gap begins anew, from a snapshot', () => {
    const f = new ControlFixture().connected(5);
    f.say({ type: 'delta', from: 6, seq: 7, ops: [] });
    expect(f.take()).toEqual(['close']);
    f.run(1000);
    f.open();
    expect(f.lastRegister.resume).toBeNull();
  });

  test('that the daemon could not apply begins anew, without an acknowledgement', () => {
    const f = new ControlFixture().connected(5);
    f.onDelta = () => f.client.resync(f.now);
    f.say({ type: 'delta', from: 5, seq: 7, ops: [], ack: true });
    expect(f.take()).toEqual(['delta 5-7', 'close']);
    f.run(1000);
    f.open();
    expect(f.lastRegister.resume).toBeNull();
  });

  test('does not come before the welcome', () => {
    const f = new ControlFixture();
    f.start();
    f.open();
    f.take();
    f.snapshot(4);
    f.say({ type: 'punch', from: 2, txid: 1, reply: false, candidates: [] });
    expect(f.take()).toEqual([]);
  });
});

describe('candidates', () => {
  test('are told when they change, once for what changes in quick succession', () => {
    const f = new ControlFixture();
    f.client.setCandidates([at(1)], 51_820, f.now);
    f.connected();
    f.client.setCandidates([at(1), at(2)], 51_820, f.now);
    f.run(50);
    f.client.setCandidates([at(1), at(3)], 51_820, f.now);
    f.run(49);
    expect(f.take()).toEqual([]);
    f.run(1);
    expect(f.take()).toEqual(['send candidates']);
    expect(f.sent.at(-1)).toEqual({ type: 'candidates', candidates: [at(1), at(3)], reach: null, listenPort: 51_820 });
    f.client.setCandidates([at(1), at(3)], 51_820, f.now);
    f.run(1_000);
    expect(f.take()).toEqual([]);
  });

  test('that change back are not told', () => {
    const f = new ControlFixture();
    f.client.setCandidates([at(1)], 51_820, f.now);
    f.connected();
    f.client.setCandidates([], 51_820, f.now);
    f.run(50);
    f.client.setCandidates([at(1)], 51_820, f.now);
    f.run(1_000);
    expect(f.take()).toEqual([]);
  });

  test('are told at once when they are the first', () => {
    const f = new ControlFixture().connected();
    f.client.setCandidates([at(1)], 51_820, f.now);
    expect(f.take()).toEqual(['send candidates']);
  });

  test('that changed between registration and welcome are told with the welcome', () => {
    const f = new ControlFixture();
    f.start();
    f.open();
    f.client.setCandidates([at(9)], 51_820, f.now);
    f.take();
    f.welcome();
    expect(f.take()).toEqual(['welcome', 'send candidates']);
  });
});

describe('what else it says', () => {
  test('goodbye before it closes, when there is somebody to hear it', () => {
    const f = new ControlFixture().connected();
    f.client.stop('logout', f.now);
    expect(f.take()).toEqual(['send goodbye', 'close']);
    const g = new ControlFixture();
    g.start();
    g.client.stop('down', g.now);
    expect(g.take()).toEqual(['connect current', 'close']);
    expect(g.client.status().step).toBe('stopped');
  });

  test('punches while it is connected; otherwise they are lost', () => {
    const f = new ControlFixture();
    const request = { type: 'punch', to: 2 as never, txid: 1, reply: false, candidates: [] } as const;
    expect(f.client.punch({ ...request, candidates: [] })).toBe(false);
    f.connected();
    expect(f.client.punch({ ...request, candidates: [] })).toBe(true);
    expect(f.take()).toEqual(['send punch']);
  });

  test('that our clock is off, by more than a minute', () => {
    const f = new ControlFixture();
    f.start();
    f.open();
    f.welcome({ time: 1_700_000_000_000 + f.now - 61_000 });
    expect(f.client.status().clockSkewMs).toBe(61_000);
    f.closed();
    f.run(1000);
    f.open();
    f.welcome({ time: 1_700_000_000_000 + f.now + 59_000 });
    expect(f.client.status().clockSkewMs).toBeNull();
  });

  test('since when it is connected', () => {
    const f = new ControlFixture();
    f.start();
    const began = f.client.status().since;
    f.run(200);
    f.open();
    expect(f.client.status().since).toBe(began);
    f.welcome();
    expect(f.client.status().since).toBe(began + 200);
    f.run(3_000);
    f.snapshot(1);
    expect(f.client.status().since).toBe(began + 200);
    expect(f.now as Instant).toBe(1_003_200);
  });
});
