// Rules 2 to 7 of docs/paths.md for one peer: what proves a path, what silence does, what an idle peer costs, and what a peer that lies
// can make of it.

import { describe, expect, test } from 'vitest';
import { type Instant, NEVER, UNSET } from '../../../src/base/instant.ts';
import { PROBES_IN_FLIGHT_MAX } from '../../../src/path/in-flight.ts';
import { REMOTES_MAX, SEEN_MAX } from '../../../src/path/path-set.ts';
import { HISTORY_MAX } from '../../../src/path/remote.ts';
import { PEER_PROBES_PER_SECOND } from '../../../src/path/schedule.ts';
import { at, origin, Rig, relay, relayAt, seeded } from './rig.ts';

/** Over the relay, with a direct way that opens when the test says so. */
function relayedRig(): Rig {
  const rig = new Rig();
  rig.ways.set(relayAt(1), 60);
  rig.connect(relay(1), origin(at(1)), origin(at(2)));
  return rig;
}

function directRig(): Rig {
  const rig = new Rig();
  rig.ways.set(at(1), 20);
  rig.ways.set(relayAt(1), 60);
  rig.connect(origin(at(1)), relay(1));
  rig.traffic(5_000);
  rig.pings.length = 0;
  rig.uses.length = 0;
  return rig;
}

describe('rule 2: a path is usable', () => {
  test('once its own ping was answered: not because it is told, nor because packets come from there', () => {
    const rig = directRig();
    rig.paths.tell([origin(at(1)), origin(at(2)), relay(1)], rig.now);
    rig.paths.heardFrom(origin(at(3), 'seen'), rig.now);
    rig.paths.pingedFrom(origin(at(4), 'seen'), rig.now);
    rig.traffic(3_000);
    expect(rig.active).toBe(at(1));
    expect([at(2), at(3), at(4)].map((endpoint) => rig.state(endpoint))).toEqual(['probing', 'probing', 'probing']);
    rig.ways.set(at(3), 4);
    rig.paths.news([at(3)], rig.now);
    rig.traffic(10);
    expect(rig.active).toBe(at(3));
  });

  test('not by a pong whose txid is nobody’s, comes twice, or is of a remote that is gone', () => {
    const rig = relayedRig();
    rig.run(1);
    const before = rig.active;
    for (const txid of [0, 999_999, 0xffff_ffff]) expect(rig.paths.pong(txid, rig.now)).toBeNull();
    const probe = rig.pings.find(({ endpoint }) => endpoint === at(1));
    if (probe === undefined) throw new Error('it was probed');
    rig.paths.tell([relay(1)], rig.now);
    expect(rig.paths.pong(probe.txid, rig.now)).toMatchObject({ remote: null });
    expect(rig.paths.pong(probe.txid, rig.now)).toBeNull();
    expect(rig.active).toBe(before);
  });

  test('by an answer that came late, too', () => {
    const rig = relayedRig();
    rig.traffic(20_000);
    expect(rig.state(at(1))).toBe('failed');
    const last = rig.pings.filter(({ endpoint }) => endpoint === at(1)).at(-1);
    rig.paths.pong(last?.txid ?? 0, rig.now);
    expect(rig.active).toBe(at(1));
  });
});

describe('rule 3: a direct path that answers', () => {
  test('takes over from the relay with its first answer', () => {
    const rig = relayedRig();
    rig.traffic(200);
    expect(rig.active).toBe(relayAt(1));
    rig.ways.set(at(2), 90);
    rig.traffic(500);
    // The probe at 300 ms is the first that is answered.
    expect(rig.uses.at(-1)).toEqual({ at: 390, endpoint: at(2) });
  });

  test('is left for a clearly shorter one, and not for one that is as good', () => {
    const rig = new Rig();
    for (const [n, rtt] of [
      [1, 50],
      [2, 45],
      [3, 10],
    ] as const)
      rig.ways.set(at(n), rtt);
    rig.connect(origin(at(1)), origin(at(2)), origin(at(3)));
    rig.traffic(30_000);
    expect(rig.uses.map(({ endpoint }) => endpoint)).toEqual([at(1), at(3)]);
  });
});

describe('rule 5: silence', () => {
  test('of 300 ms is asked about, and without an answer for as long again the peer is moved to the relay', () => {
    const rig = directRig();
    const start = rig.t;
    rig.ways.delete(at(1));
    rig.traffic(700);
    expect(rig.pings.filter(({ endpoint }) => endpoint === at(1)).map((p) => p.at - start)[0]).toBe(300);
    expect(rig.uses).toEqual([{ at: start + 600, endpoint: relayAt(1) }]);
    expect(rig.paths.set.get(at(1))?.history.map(({ state, cause }) => `${state} ${cause}`)).toContain('lost silent');
    // Everything is probed afresh at that moment.
    expect(new Set(rig.pings.filter((p) => p.at === start + 600).map((p) => p.endpoint))).toEqual(
      new Set([at(1), relayAt(1)]),
    );
    rig.traffic(2_000);
    expect(rig.handshakes).toEqual([]);
    expect(rig.active).toBe(relayAt(1));
    rig.ways.set(at(1), 20);
    rig.traffic(4_000);
    expect(rig.active).toBe(at(1));
  });

  test('takes three round trips when they are longer', () => {
    const rig = new Rig();
    rig.ways.set(at(1), 400);
    rig.ways.set(relayAt(1), 500);
    rig.connect(origin(at(1)), relay(1));
    rig.traffic(7_000);
    const start = rig.t;
    rig.uses.length = 0;
    rig.ways.delete(at(1));
    rig.traffic(3_500);
    const [moved] = rig.uses;
    // What was under way when it broke still came, for one round trip.
    expect(moved?.at).toBeGreaterThanOrEqual(start + 2_400);
    expect(moved?.at).toBeLessThanOrEqual(start + 2_400 + 450);
  });

  test('over all paths for a second means that the other end has lost the session', () => {
    const rig = directRig();
    const start = rig.t;
    rig.ways.clear();
    rig.traffic(3_000);
    expect(rig.handshakes).toEqual([start + 1_300]);
    expect(rig.paths.live).toBe(false);
    expect(rig.paths.deadline).toBe(NEVER);
    // A new session begins where its handshake came from.
    rig.ways.set(at(1), 20);
    rig.paths.handshakeFrom(origin(at(1)), rig.now);
    rig.paths.sessionWorks(rig.now);
    rig.traffic(100);
    expect([rig.active, rig.paths.proven]).toEqual([at(1), true]);
  });

  test('without a relay moves to another that worked, and stays where it is when there is none', () => {
    const rig = new Rig();
    rig.ways.set(at(1), 10);
    rig.ways.set(at(2), 12);
    rig.connect(origin(at(1)), origin(at(2)), origin(at(3)));
    rig.traffic(2_000);
    const start = rig.t;
    rig.ways.delete(at(1));
    rig.traffic(700);
    expect(rig.uses.at(-1)).toEqual({ at: start + 600, endpoint: at(2) });
    rig.ways.clear();
    rig.traffic(650);
    expect(rig.active === at(1) || rig.active === at(2)).toBe(true);
    rig.traffic(1_000);
    expect(rig.handshakes.length).toBe(1);
  });

  test('is none while the peer’s keepalives and data come in, whatever the probes of others do', () => {
    const rig = directRig();
    rig.traffic(60_000);
    expect([rig.uses, rig.handshakes]).toEqual([[], []]);
  });

  test('of a peer that has nothing to say to one-way data is broken by pongs alone, with a few pings a second', () => {
    const rig = directRig();
    rig.answersData = false;
    rig.traffic(10_000);
    expect([rig.uses, rig.handshakes]).toEqual([[], []]);
    const pings = rig.pingsTo(at(1)).length;
    expect(pings).toBeGreaterThan(20);
    expect(pings).toBeLessThan(50);
  });

  test('is not broken by probes of the peer, which come by all paths', () => {
    const rig = directRig();
    rig.ways.delete(at(1));
    const start = rig.t;
    for (let t = 0; t < 1_000; t += 250) {
      rig.traffic(250);
      rig.lastReceive = rig.now;
      rig.awaitedSince = UNSET;
      rig.paths.pingedFrom(relay(1), rig.now);
    }
    expect(rig.uses.map(({ endpoint }) => endpoint)).toEqual([relayAt(1)]);
    expect((rig.uses[0]?.at ?? 0) - start).toBeLessThanOrEqual(700);
  });

  test('of one lost ping is none: a second one is out before the verdict', () => {
    const rig = directRig();
    rig.answersData = false;
    rig.run(5_000);
    rig.ways.delete(at(1));
    rig.send();
    rig.run(350);
    rig.ways.set(at(1), 20);
    rig.run(2_000);
    expect(rig.uses).toEqual([]);
  });
});

describe('rule 6: the peer’s packets come by another path', () => {
  test('and that one and ours are probed at once; ours stays when it answers', () => {
    const rig = directRig();
    rig.run(3_000);
    rig.pings.length = 0;
    rig.paths.heardFrom(origin(relayAt(1), 'relay'), rig.now);
    expect(new Set(rig.pings.map(({ endpoint }) => endpoint))).toEqual(new Set([at(1), relayAt(1)]));
    rig.run(2_000);
    expect(rig.uses).toEqual([]);
  });

  test('when ours is dead: the one end that has noticed makes the other look, before it has anything to send', () => {
    const rig = directRig();
    const start = rig.t;
    rig.ways.delete(at(1));
    rig.paths.heardFrom(origin(relayAt(1), 'relay'), rig.now);
    rig.lastReceive = rig.now;
    rig.run(400);
    expect(rig.uses).toEqual([{ at: start + 200, endpoint: relayAt(1) }]);
  });

  test('and go on doing so: ours is asked for an answer of its own every second of traffic', () => {
    const rig = directRig();
    rig.paths.heardFrom(origin(relayAt(1), 'relay'), rig.now);
    rig.traffic(3_000);
    const start = rig.t;
    rig.ways.delete(at(1));
    // Data is answered all the same, for the peer speaks over the relay.
    for (let t = 0; t < 2_500; t += 50) {
      rig.send();
      rig.run(25);
      rig.receive();
      rig.run(25);
    }
    expect(rig.active).toBe(relayAt(1));
    expect((rig.uses[0]?.at ?? 0) - start).toBeLessThanOrEqual(1_000 + 300 + 350);
  });

  test('before anything is proved: its newest packet says where ours go', () => {
    const rig = new Rig();
    rig.connect(origin(at(1)), relay(1));
    rig.paths.heardFrom(relay(1), rig.now);
    expect(rig.active).toBe(relayAt(1));
  });
});

describe('rule 7: an idle peer', () => {
  test('has no probe and no timer, and its first packet after 10 s is followed by a ping at once', () => {
    const rig = directRig();
    rig.run(200_000);
    expect(rig.paths.deadline).toBe(NEVER);
    rig.pings.length = 0;
    const start = rig.t;
    rig.ways.delete(at(1));
    rig.send();
    rig.run(1);
    expect(rig.pingsTo(at(1))[0]).toBe(start);
    rig.run(400);
    // So a path that died meanwhile costs 300 ms, not 600; or less, when the relay's answer shows that the peer is there.
    expect(rig.uses).toEqual([{ at: start + 200, endpoint: relayAt(1) }]);
  });

  test('costs no timer of its own while it has traffic but the few of its schedule', () => {
    const rig = directRig();
    let wakes = 0;
    const end = rig.t + 10_000;
    while (rig.t < end) {
      rig.send();
      const before = rig.paths.deadline;
      rig.run(20);
      if (rig.paths.deadline !== before) wakes++;
    }
    expect(wakes).toBeLessThan(80);
  });
});

describe('when our own network changes', () => {
  test('everything is probed at once, the relay too, also for a peer without traffic, and then nothing more', () => {
    const rig = directRig();
    rig.run(100_000);
    rig.pings.length = 0;
    rig.paths.moved(rig.now);
    expect(new Set(rig.pings.map(({ endpoint }) => endpoint))).toEqual(new Set([at(1), relayAt(1)]));
    rig.run(10_000);
    expect(rig.pings.length).toBeLessThanOrEqual(3);
    expect([rig.paths.deadline, rig.active, rig.handshakes.length]).toEqual([NEVER, at(1), 0]);
  });

  test('and the direct path is gone: the relay carries after 300 ms', () => {
    const rig = directRig();
    const start = rig.t;
    rig.ways.delete(at(1));
    rig.paths.moved(rig.now);
    rig.traffic(400);
    expect(rig.uses[0]?.endpoint).toBe(relayAt(1));
    expect((rig.uses[0]?.at ?? 0) - start).toBeLessThanOrEqual(300);
  });
});

describe('limits', () => {
  test('a remote remembers its last 16 changes', () => {
    const rig = relayedRig();
    for (let round = 0; round < 20; round++) {
      rig.ways.set(at(1), 10);
      rig.paths.news([at(1)], rig.now);
      rig.traffic(1_500);
      rig.ways.delete(at(1));
      rig.traffic(1_500);
    }
    const history = rig.paths.set.get(at(1))?.history ?? [];
    expect(history.length).toBe(HISTORY_MAX);
    for (let i = 1; i < history.length; i++) {
      expect(history[i]?.at).toBeGreaterThanOrEqual(history[i - 1]?.at ?? NEVER);
    }
  });

  test('what a peer is seen at, or says of itself, pushes out nothing that was proved, nor the relay', () => {
    const rig = directRig();
    for (let n = 10; n < 250; n++) rig.paths.heardFrom(origin(at(n), 'seen'), rig.now);
    expect(rig.paths.set.all().filter(({ kind }) => kind === 'seen').length).toBe(SEEN_MAX);
    rig.paths.tell([...Array.from({ length: 200 }, (_, i) => origin(at(10 + i))), relay(1), origin(at(1))], rig.now);
    expect(rig.paths.set.size).toBe(REMOTES_MAX);
    expect(rig.refused.remote).toBeGreaterThan(0);
    expect([rig.active, rig.state(relayAt(1))]).toEqual([at(1), 'works']);
  });

  test('a peer that does whatever it can makes us send no more than the budget to third parties', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const prng = seeded(seed);
      const rig = directRig();
      const begin = rig.t;
      for (let step = 0; step < 600; step++) {
        const some = Array.from({ length: prng.nextInt(0, 30) }, () =>
          origin(at(prng.nextInt(2, 250)), prng.chance(0.5) ? 'seen' : 'host'),
        );
        const now = rig.now;
        if (prng.chance(0.3)) rig.paths.tell([origin(at(1)), relay(1), ...some], now);
        if (prng.chance(0.3))
          rig.paths.news(
            some.map(({ endpoint }) => endpoint),
            now,
          );
        for (const one of some.slice(0, 3)) {
          if (prng.chance(0.5)) rig.paths.heardFrom(one, now);
          else rig.paths.pingedFrom(one, now);
        }
        for (let guess = 0; guess < 3; guess++) rig.paths.pong(prng.chance(0.5) ? prng.nextU32() : 0x7fff_ffff, now);
        rig.send();
        rig.run(prng.nextInt(0, 60));
        expect(rig.paths.set.size).toBeLessThanOrEqual(REMOTES_MAX);
        expect(rig.paths.probesInFlight).toBeLessThanOrEqual(PROBES_IN_FLIGHT_MAX);
      }
      const elapsed = (rig.t - begin) / 1000;
      const toOthers = rig.pings.filter(({ endpoint }) => endpoint !== at(1) && endpoint !== relayAt(1)).length;
      expect(toOthers, `seed ${seed}`).toBeLessThanOrEqual(PEER_PROBES_PER_SECOND * (elapsed + 1));
      // None of it was an answer, so nothing has moved the peer.
      expect([rig.active, rig.uses, rig.handshakes], `seed ${seed}`).toEqual([at(1), [], []]);
    }
  });
});

describe('whatever the ways do', () => {
  test('the peer is on a direct path that works within seconds of there being one, on the relay otherwise, and never on what is dead', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const prng = seeded(seed);
      const rig = new Rig();
      const endpoints = [at(1), at(2), at(3)];
      rig.ways.set(relayAt(1), prng.nextInt(5, 120));
      for (const endpoint of endpoints) if (prng.chance(0.5)) rig.ways.set(endpoint, prng.nextInt(1, 150));
      rig.connect(relay(1), ...endpoints.map((endpoint) => origin(endpoint)));
      for (let change = 0; change < 6; change++) {
        const endpoint = prng.pick(endpoints);
        if (rig.ways.has(endpoint)) rig.ways.delete(endpoint);
        else {
          rig.ways.set(endpoint, prng.nextInt(1, 150));
          // The other end has found it, and says so.
          rig.paths.pingedFrom(origin(endpoint, 'seen'), rig.now);
        }
        rig.traffic(4_000, 40);
        const { active } = rig;
        const direct = endpoints.some((one) => rig.ways.has(one));
        expect(active !== null && rig.ways.has(active), `seed ${seed} change ${change}`).toBe(true);
        expect(active === relayAt(1), `seed ${seed} change ${change}`).toBe(!direct);
        expect(rig.handshakes).toEqual([]);
      }
    }
  });

  test('time is never asked to stand still: a deadline that was handled lies ahead', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const prng = seeded(seed);
      const rig = relayedRig();
      for (let step = 0; step < 200; step++) {
        if (prng.chance(0.5)) rig.send();
        if (prng.chance(0.1)) rig.paths.moved(rig.now);
        if (prng.chance(0.2)) rig.paths.asked(rig.now);
        if (prng.chance(0.1)) rig.paths.forget(relayAt(1), rig.now);
        if (prng.chance(0.1)) rig.paths.tell([relay(1), origin(at(prng.nextInt(1, 9)))], rig.now);
        if (!rig.paths.live) {
          rig.paths.handshakeFrom(origin(at(1)), rig.now);
          rig.paths.sessionWorks(rig.now);
        }
        for (let turns = 0; rig.paths.deadline <= rig.now; turns++) {
          if (turns > 3) throw new Error(`seed ${seed} step ${step}: a deadline that does not go away`);
          rig.paths.handleDeadline(rig.now);
        }
        const next = Math.min(rig.paths.deadline, rig.now + prng.nextInt(0, 900));
        rig.now = next as Instant;
      }
    }
  });
});
