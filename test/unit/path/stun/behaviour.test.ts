// What is concluded about a NAT: from the sightings of several servers, and by the tests of RFC 5780 through NATs of every kind of
// RFC 4787 in virtual time, with the project's own client and server on both sides.

import { describe, expect, test } from 'vitest';
import type { Instant } from '../../../../src/base/instant.ts';
import { type Endpoint, endpointParts, formatEndpoint, type IpAddress } from '../../../../src/base/ip.ts';
import { Prng } from '../../../../src/base/prng.ts';
import { AnswerBudget } from '../../../../src/path/stun/answer-budget.ts';
import {
  judgeMapping,
  type NatBehaviour,
  type NatDependence,
  NatDiscovery,
} from '../../../../src/path/stun/behaviour.ts';
import { StunClient, type StunResult } from '../../../../src/path/stun/client.ts';
import { type Door, newStunCounters, StunResponder } from '../../../../src/path/stun/responder.ts';

const endpoint = (text: string): Endpoint => text as Endpoint;
const LOCAL = endpoint('10.0.0.2:51820');
const PUBLIC = '198.51.100.7' as IpAddress;
const DOORS = ['192.0.2.1:3478', '192.0.2.1:3479', '192.0.2.2:3478', '192.0.2.2:3479'].map(endpoint);
const SERVER = DOORS[0] as Endpoint;
const RTT_MS = 20;

const KINDS: readonly NatDependence[] = ['endpointIndependent', 'addressDependent', 'addressAndPortDependent'];

/** What of a destination a NAT of this kind looks at. */
function keyOf(kind: NatDependence, remote: Endpoint): string {
  const { address } = endpointParts(remote);
  return { endpointIndependent: '', addressDependent: address, addressAndPortDependent: remote }[kind];
}

interface NatKind {
  readonly mapping: NatDependence | 'none';
  readonly filtering: NatDependence;
}

/** One socket behind a NAT. */
class Nat {
  readonly #kind: NatKind;
  readonly #mappings = new Map<string, Endpoint>();
  readonly #open = new Set<string>();
  #port = 40_000;

  constructor(kind: NatKind) {
    this.#kind = kind;
  }

  outward(to: Endpoint): Endpoint {
    const { mapping, filtering } = this.#kind;
    const key = mapping === 'none' ? '' : keyOf(mapping, to);
    const outer = this.#mappings.get(key) ?? (mapping === 'none' ? LOCAL : formatEndpoint(PUBLIC, this.#port++));
    this.#mappings.set(key, outer);
    this.#open.add(`${outer} ${keyOf(filtering, to)}`);
    return outer;
  }

  letsIn(from: Endpoint, to: Endpoint): boolean {
    return this.#open.has(`${to} ${keyOf(this.#kind.filtering, from)}`);
  }
}

interface Trouble {
  /** Whether a datagram to the server is lost. */
  readonly loses?: (to: Endpoint, prng: Prng) => boolean;
  readonly plainServer?: boolean;
  readonly isUsable?: (endpoint: Endpoint) => boolean;
}

/** Runs a discovery to its end, and says how long it took. */
function discover(kind: NatKind, trouble: Trouble = {}, seed = 1): { behaviour: NatBehaviour; ms: number } {
  const prng = new Prng(seed);
  const nat = new Nat(kind);
  const doors = trouble.plainServer === true ? null : (DOORS as [Endpoint, Endpoint, Endpoint, Endpoint]);
  const responder = new StunResponder({ doors, budget: new AnswerBudget(), counters: newStunCounters() });
  const flying: { at: number; from: Endpoint; datagram: Uint8Array }[] = [];
  const found: NatBehaviour[] = [];
  let now = 0 as Instant;
  const client = new StunClient({
    random: (out) => prng.fill(out),
    outputs: {
      send: (to, datagram) => {
        const outer = nat.outward(to);
        const door = DOORS.indexOf(to);
        if (door < 0 || trouble.loses?.(to, prng) === true) return true;
        const answer = responder.answer(datagram, outer, door as Door, now);
        const from = DOORS[answer?.door ?? 0] as Endpoint;
        if (answer !== null && nat.letsIn(from, outer))
          flying.push({ at: now + RTT_MS, from, datagram: answer.datagram });
        return true;
      },
      result: (result) => expect(discovery.handleResult(result, now)).toBe(true),
    },
  });
  const discovery = new NatDiscovery(SERVER, {
    ask: (server, at, options) => client.ask(server, at, options),
    local: [LOCAL],
    isUsable: trouble.isUsable ?? (() => true),
    done: (behaviour) => found.push(behaviour),
  });
  discovery.start(now);
  while (found.length === 0) {
    const at = Math.min(client.nextDeadline(), flying[0]?.at ?? Number.POSITIVE_INFINITY);
    if (!(at < 60_000)) throw new Error('it does not end');
    now = at as Instant;
    const next = flying[0];
    if (next !== undefined && next.at <= at) {
      flying.shift();
      client.handleDatagram(next.datagram, next.from, now);
    } else {
      client.handleDeadline(now);
    }
  }
  expect(client.size).toBe(0);
  expect(found).toHaveLength(1);
  return { behaviour: found[0] as NatBehaviour, ms: now };
}

describe('by the tests of RFC 5780', () => {
  const kinds: NatKind[] = [...KINDS, 'none' as const].flatMap((mapping) =>
    KINDS.map((filtering) => ({ mapping, filtering })),
  );

  test.each(kinds)('a NAT with mapping $mapping and filtering $filtering is known', (kind) => {
    const reflexive = kind.mapping === 'none' ? LOCAL : '198.51.100.7:40000';
    expect(discover(kind).behaviour).toEqual({ ...kind, reflexive, problem: null });
  });

  test.each(kinds)(
    'and over a network that loses every third datagram: mapping $mapping, filtering $filtering',
    (kind) => {
      let right = 0;
      for (let seed = 1; seed <= 50; seed++) {
        const { behaviour } = discover(kind, { loses: (_, prng) => prng.chance(1 / 3) }, seed);
        const { mapping, filtering, problem } = behaviour;
        if (problem === null && mapping === kind.mapping && filtering === kind.filtering) right++;
      }
      // Each of up to five tests fails with all four requests in one of 81 runs.
      expect(right).toBeGreaterThanOrEqual(45);
    },
  );

  test('what answers quickly is known quickly', () => {
    const open = { mapping: 'endpointIndependent', filtering: 'endpointIndependent' } as const;
    expect(discover(open).ms).toBe(3 * RTT_MS);
    // Two tests whose answers do not come in.
    const closed = { mapping: 'endpointIndependent', filtering: 'addressAndPortDependent' } as const;
    expect(discover(closed).ms).toBe(2 * RTT_MS + 2 * 3_750);
  });

  const SYMMETRIC = { mapping: 'addressAndPortDependent', filtering: 'addressAndPortDependent' } as const;

  test('a server that does not answer tells nothing', () => {
    expect(discover(SYMMETRIC, { loses: () => true })).toEqual({
      behaviour: { mapping: 'unknown', filtering: 'unknown', reflexive: null, problem: 'noAnswer' },
      ms: 3_750,
    });
  });

  test('a server with one address tells where we are, and that there is no NAT', () => {
    expect(discover(SYMMETRIC, { plainServer: true }).behaviour).toEqual({
      mapping: 'unknown',
      filtering: 'unknown',
      reflexive: '198.51.100.7:40000',
      problem: 'noOtherAddress',
    });
    expect(discover({ ...SYMMETRIC, mapping: 'none' }, { plainServer: true }).behaviour.mapping).toBe('none');
  });

  test('a server whose other address is silent does not make a NAT look closed', () => {
    const silent: Trouble = { loses: (to) => to.startsWith('192.0.2.2') };
    const open = { mapping: 'endpointIndependent', filtering: 'endpointIndependent' } as const;
    expect(discover(SYMMETRIC, silent).behaviour).toMatchObject({
      mapping: 'unknown',
      filtering: 'unknown',
      problem: 'otherSilent',
    });
    // What came in came in.
    expect(discover(open, silent).behaviour).toMatchObject({ mapping: 'unknown', filtering: 'endpointIndependent' });
  });

  test('another address that may not be used is not used', () => {
    const asked: Endpoint[] = [];
    const isUsable = (other: Endpoint): boolean => {
      asked.push(other);
      return false;
    };
    expect(discover(SYMMETRIC, { isUsable }).behaviour.problem).toBe('noOtherAddress');
    expect(asked).toEqual([DOORS[3]]);
  });

  test.each([
    ['the same address', '192.0.2.1:3479'],
    ['the same port', '192.0.2.2:3478'],
    ['another family', '[2001:db8::2]:3479'],
  ])('a server that calls %s another is not believed', (_, other) => {
    const found: NatBehaviour[] = [];
    const discovery = new NatDiscovery(SERVER, {
      ask: () => 1,
      local: [],
      isUsable: () => true,
      done: (behaviour) => found.push(behaviour),
    });
    discovery.start(0 as Instant);
    const answer: StunResult = {
      kind: 'reflexive',
      transaction: 1,
      server: SERVER,
      reflexive: endpoint('198.51.100.7:1'),
      rttMs: 1,
      other: endpoint(other),
    };
    expect(discovery.handleResult({ ...answer, transaction: 2 }, 0 as Instant)).toBe(false);
    expect(discovery.handleResult(answer, 0 as Instant)).toBe(true);
    expect(found).toMatchObject([{ problem: 'noOtherAddress' }]);
  });

  test('without room for a request it ends', () => {
    const found: NatBehaviour[] = [];
    const done = (behaviour: NatBehaviour): number => found.push(behaviour);
    new NatDiscovery(SERVER, { ask: () => null, local: [], isUsable: () => true, done }).start(0 as Instant);
    expect(found).toEqual([{ mapping: 'unknown', filtering: 'unknown', reflexive: null, problem: 'noAnswer' }]);
  });
});

describe('from what servers see', () => {
  const A = endpoint('192.0.2.1:3478');
  const A2 = endpoint('192.0.2.1:3479');
  const B = endpoint('203.0.113.1:3478');
  const SEEN = endpoint('198.51.100.7:40000');
  const see = (...pairs: readonly (readonly [Endpoint, string])[]) =>
    pairs.map(([server, reflexive]) => ({ server, reflexive: endpoint(reflexive) }));

  test.each([
    ['nothing', see(), 'unknown', true],
    ['one destination', see([A, SEEN]), 'unknown', true],
    ['one destination twice', see([A, SEEN], [A, SEEN]), 'unknown', true],
    ['two ports of one address alike', see([A, SEEN], [A2, SEEN]), 'independent', false],
    ['two addresses alike', see([A, SEEN], [B, SEEN]), 'independent', true],
    ['two ports of one address differently', see([A, SEEN], [A2, '198.51.100.7:40001']), 'varies', true],
    ['one of three differently', see([A, SEEN], [A2, SEEN], [B, '198.51.100.8:40000']), 'varies', true],
    ['one destination, differently in time', see([A, SEEN], [A, '198.51.100.7:40001']), 'unknown', true],
    ['after a NAT began anew', see([A, SEEN], [A, '198.51.100.7:5'], [B, '198.51.100.7:5']), 'independent', true],
    ['what we are', see([A, LOCAL]), 'none', true],
    ['what we are, everywhere', see([A, LOCAL], [B, LOCAL]), 'none', true],
    ['what we are here, and not there', see([A, LOCAL], [B, SEEN]), 'varies', true],
    ['our address with another port', see([A, '10.0.0.2:1']), 'unknown', true],
    ['another family alone', see([A, '[2001:db8::7]:1'], [B, '[2001:db8::7]:2']), 'unknown', true],
  ] as const)('%s', (_, observations, mapping, certain) => {
    expect(judgeMapping(observations, [LOCAL, endpoint('[fd00::2]:51820')], 4)).toEqual({ mapping, certain });
  });

  test('the families are judged apart', () => {
    const both = see([A, SEEN], [A2, '198.51.100.7:5'], [endpoint('[2001:db8::1]:1'), '[fd00::2]:51820']);
    expect(judgeMapping(both, [endpoint('[fd00::2]:51820')], 6).mapping).toBe('none');
    expect(judgeMapping(both, [endpoint('[fd00::2]:51820')], 4).mapping).toBe('varies');
  });

  test('is what RFC 4787 calls it, for every kind of NAT and any servers', () => {
    for (let seed = 1; seed <= 500; seed++) {
      const prng = new Prng(seed);
      const kind = prng.pick(KINDS);
      const nat = new Nat({ mapping: kind, filtering: kind });
      const servers = Array.from({ length: prng.nextInt(2, 6) }, () =>
        endpoint(`192.0.2.${prng.nextInt(1, 3)}:${prng.nextInt(3_478, 3_480)}`),
      );
      const verdict = judgeMapping(
        servers.map((server) => ({ server, reflexive: nat.outward(server) })),
        [LOCAL],
        4,
      );
      const ends = new Set(servers.map((server) => keyOf(kind, server))).size;
      if (ends > 1) expect(verdict.mapping).toBe('varies');
      else if (new Set(servers).size > 1) expect(verdict.mapping).toBe('independent');
      else expect(verdict.mapping).toBe('unknown');
      // A verdict that is certain is never wrong about another destination.
      if (verdict.mapping === 'independent' && verdict.certain) expect(kind).toBe('endpointIndependent');
    }
  });
});
