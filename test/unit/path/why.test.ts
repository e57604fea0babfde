// Each cause of the fixed list from the facts that show it, one by one; and what a person is told of the pair.

import { describe, expect, test } from 'vitest';
import type { Instant } from '../../../src/base/instant.ts';
import type { Endpoint, IpAddress } from '../../../src/base/ip.ts';
import { Remote, type RemoteKind, type RemoteState } from '../../../src/path/remote.ts';
import { judge, type WhyFacts } from '../../../src/path/why.ts';
import type { PathCause } from '../../../src/protocol/causes.ts';

const NOW = 1_000_000 as Instant;
const ago = (ms: number): Instant => (NOW - ms) as Instant;

function remote(endpoint: string, kind: RemoteKind, state: RemoteState, edit: Partial<Remote> = {}): Remote {
  const made = new Remote({ endpoint: endpoint as Endpoint, kind, sameLink: false }, ago(60_000));
  made.state = state;
  return Object.assign(made, edit);
}

interface Edit {
  readonly self?: Partial<WhyFacts['self']>;
  readonly peer?: Partial<WhyFacts['peer']>;
  readonly active?: Remote | null;
  readonly blackHoles?: readonly Remote[];
}

function facts(
  remotes: readonly Remote[],
  { self = {}, peer = {}, active = null, blackHoles = [] }: Edit = {},
): WhyFacts {
  return {
    self: {
      mapping: 'independent',
      udp: 'works',
      families: [4],
      outside: ['203.0.113.1' as IpAddress],
      homeRelay: 'relay-eu',
      relayRefused: false,
      lockedOut: false,
      clockOff: false,
      ...self,
    },
    peer: {
      name: 'desk',
      mapping: 'independent',
      udp: 'works',
      families: [4],
      online: true,
      session: 'established',
      hasRelay: true,
      ...peer,
    },
    remotes,
    active,
    isBlackHole: (one) => blackHoles.includes(one),
    relayName: () => 'relay-eu',
  };
}

const OUTER = '198.51.100.9:4000';
const RELAYED = '[100::7]:1';

/** The cause of the first remote, and the pair's. */
function told(all: WhyFacts): { cause: PathCause | undefined; pair: readonly PathCause[] } {
  const verdict = judge(all, NOW);
  return { cause: verdict.causes.get(all.remotes[0] as Remote), pair: verdict.pair };
}

describe('the cause of a remote', () => {
  const relay = remote(RELAYED, 'relay', 'works', { rttMs: 30 });
  const both = { self: { mapping: 'varies' }, peer: { mapping: 'varies' } } as const;
  const away = { peer: { online: false, session: 'connecting' } } as const;

  test.each<[PathCause, Remote, Edit]>([
    ['untested', remote(OUTER, 'reflexive', 'untested'), { active: relay }],
    ['untested', remote(OUTER, 'reflexive', 'probing'), { active: relay }],
    ['worse', remote(OUTER, 'reflexive', 'works'), { active: remote('192.0.2.1:1', 'host', 'works') }],
    ['noFamily', remote('[2001:db8::9]:4000', 'host', 'failed'), { active: relay }],
    ['elsewhere', remote('10.0.0.9:4000', 'host', 'failed'), { active: relay }],
    ['filtered', remote('10.0.0.9:4000', 'host', 'failed', { sameLink: true }), { active: relay }],
    ['filtered', remote(OUTER, 'reflexive', 'failed'), { active: relay }],
    ['filtered', remote(OUTER, 'reflexive', 'failed'), { active: relay, self: { mapping: 'varies' } }],
    ['mappingVaries', remote(OUTER, 'reflexive', 'failed'), { active: relay, ...both }],
    ['filtered', remote(OUTER, 'mapped', 'failed'), { active: relay, ...both }],
    ['hairpin', remote('203.0.113.1:4000', 'reflexive', 'failed'), { active: relay }],
    ['udpBlocked', remote(OUTER, 'reflexive', 'failed'), { active: relay, self: { udp: 'blocked' } }],
    ['udpBlocked', remote(OUTER, 'reflexive', 'failed'), { active: relay, peer: { udp: 'blocked' } }],
    ['oneWay', remote(OUTER, 'seen', 'failed', { heardAt: ago(1_000) }), { active: relay }],
    ['oneWay', remote(OUTER, 'seen', 'lost', { heardAt: ago(1_000), answeredAt: ago(9_000) }), { active: relay }],
    ['silent', remote(OUTER, 'seen', 'lost', { heardAt: ago(9_000), answeredAt: ago(9_000) }), { active: relay }],
    ['silent', remote(OUTER, 'host', 'lost', { heardAt: ago(90_000), answeredAt: ago(99_000) }), { active: relay }],
    ['mtuBlackHole', remote(OUTER, 'host', 'works'), { active: relay, blackHoles: [] }],
    ['peerOffline', remote(OUTER, 'host', 'failed'), away],
    ['clock', remote(OUTER, 'host', 'failed'), { self: { clockOff: true }, peer: { session: 'connecting' } }],
    ['keyExpired', remote(OUTER, 'host', 'failed'), { self: { lockedOut: true }, peer: { session: 'connecting' } }],
    ['noRelay', remote(RELAYED, 'relay', 'failed'), {}],
    ['noRelay', remote(RELAYED, 'relay', 'untested'), { self: { homeRelay: null } }],
    ['relayRefused', remote(RELAYED, 'relay', 'failed'), { self: { relayRefused: true } }],
  ])('%s', (cause, one, edit) => {
    const blackHoles = cause === 'mtuBlackHole' ? [one] : [];
    expect(told(facts([one], { ...edit, blackHoles })).cause).toBe(cause);
  });

  test('works: the active one', () => {
    const active = remote(OUTER, 'host', 'works', { rttMs: 3 });
    expect(told(facts([active], { active }))).toEqual({ cause: 'works', pair: [] });
  });
});

describe('the pair', () => {
  const relay = remote(RELAYED, 'relay', 'works', { rttMs: 30 });

  test('direct: no cause, no advice', () => {
    const active = remote(OUTER, 'host', 'works', { rttMs: 3 });
    const verdict = judge(facts([active, remote('10.0.0.9:4000', 'host', 'failed')], { active }), NOW);
    expect(verdict).toMatchObject({ pair: [], advice: [], summary: 'direct, 3.0 ms' });
  });

  test('relayed: the weightiest cause is the reason, and what it explains is not another', () => {
    const one = remote(OUTER, 'reflexive', 'failed');
    const mapped = remote('198.51.100.9:5000', 'mapped', 'failed');
    const varies = { mapping: 'varies' } as const;
    const verdict = judge(facts([one, mapped, relay], { active: relay, self: varies, peer: varies }), NOW);
    expect(verdict.pair).toEqual(['mappingVaries']);
    expect(verdict.summary).toBe(
      'relayed by relay-eu, 30.0 ms, because both NATs give another port for each destination',
    );
    expect(verdict.advice[0]).toContain('UPnP');
  });

  test('relayed while direct paths are being tried: no cause yet', () => {
    const verdict = judge(facts([remote(OUTER, 'reflexive', 'probing'), relay], { active: relay }), NOW);
    expect(verdict).toMatchObject({ pair: [], summary: 'relayed by relay-eu, 30.0 ms; direct paths are being tried' });
  });

  test('IPv6 alone here, IPv4 alone there: no address that could be used', () => {
    const verdict = judge(
      facts([remote(OUTER, 'host', 'failed'), relay], { active: relay, self: { families: [6] } }),
      NOW,
    );
    expect(verdict.pair).toEqual(['noCandidate', 'noFamily']);
  });

  test('nobody at the other end', () => {
    const peer = { online: false, session: 'connecting', hasRelay: false } as const;
    const verdict = judge(facts([remote(OUTER, 'host', 'failed')], { peer }), NOW);
    expect(verdict.pair).toEqual(['peerOffline', 'noRelay']);
    expect(verdict.summary).toBe('not connected yet, because it is not connected to the controller');
    expect(verdict.advice[0]).toContain('warren status');
  });

  test('an idle peer is no trouble', () => {
    const verdict = judge(facts([remote(OUTER, 'host', 'untested')], { peer: { session: 'idle' } }), NOW);
    expect(verdict).toMatchObject({ pair: [], summary: 'idle: nobody speaks to it' });
  });
});
