// What `warren why` and `warren netcheck` print for people: the sentence first, then a row for each path, then what to do.

import { describe, expect, test } from 'vitest';
import { netcheckText } from '../../../src/cli/commands/netcheck.ts';
import { CAUSE_TEXT, whyText } from '../../../src/cli/commands/why.ts';
import { PATH_CAUSES } from '../../../src/protocol/causes.ts';
import type { NetcheckReport, WhyReport } from '../../../src/protocol/path-report.ts';

const NOW = Date.parse('2026-01-01T00:01:00Z');

const WHY: WhyReport = {
  peer: {
    id: 2,
    name: 'server',
    addresses: ['100.64.0.2', 'fd00::2'],
    online: true,
    state: 'established',
    lastHandshake: '2026-01-01T00:00:00Z',
  },
  path: {
    kind: 'relay',
    endpoint: '192.0.2.1:7370',
    relay: 'relay-eu',
    rttMs: 31.25,
    mtu: 1408,
    since: '2026-01-01T00:00:30Z',
  },
  candidates: [
    {
      local: '198.51.100.7:4000',
      remote: '203.0.113.9:5000',
      kind: 'reflexive',
      state: 'failed',
      cause: 'mappingVaries',
      rttMs: null,
      history: [
        { at: '2026-01-01T00:00:30Z', state: 'probing', cause: 'untested', rttMs: null },
        { at: '2026-01-01T00:00:50Z', state: 'failed', cause: 'mappingVaries', rttMs: null },
      ],
    },
  ],
  causes: ['mappingVaries'],
  summary: 'relayed by relay-eu, because both NATs give another port for each destination',
  advice: ['forward UDP port 4000 on one of the two routers'],
};

describe('why', () => {
  test('the sentence, the path, the others, and what to do', () => {
    expect(whyText(WHY, false, NOW)).toBe(
      [
        'server: relayed by relay-eu, because both NATs give another port for each destination',
        '  path: relay 192.0.2.1:7370 (relay-eu), 31.3 ms, MTU 1408, since 30 s',
        '',
        'KIND       FROM               TO                STATE   RTT  WHY',
        'reflexive  198.51.100.7:4000  203.0.113.9:5000  failed  -    both NATs give another port for each destination',
        '',
        'do: forward UDP port 4000 on one of the two routers',
        '',
      ].join('\n'),
    );
  });

  test('the history on demand, oldest first', () => {
    const lines = whyText(WHY, true, NOW).split('\n');
    expect(lines.filter((line) => line.startsWith('    '))).toEqual([
      '    30 s ago: probing, not tried yet',
      '    10 s ago: failed, both NATs give another port for each destination',
    ]);
  });

  test.each(PATH_CAUSES)('has words for %s', (cause) => {
    expect(CAUSE_TEXT[cause].length).toBeGreaterThan(3);
  });
});

test('netcheck tells UDP, NAT, mappings, servers and relays', () => {
  const report: NetcheckReport = {
    udp: 'works',
    mapping: 'varies',
    filtering: 'dependent',
    reflexive: { ipv4: '203.0.113.9:5000', ipv6: null },
    interfaces: [{ kind: 'host', endpoint: '10.0.0.2:4000' }],
    stun: [{ server: '192.0.2.1:3478', reflexive: '203.0.113.9:5000', rttMs: 12, error: null }],
    relays: [
      {
        id: 9,
        name: 'relay-eu',
        home: true,
        state: 'established',
        endpoint: '192.0.2.1:7370',
        via: 'udp',
        rttMs: 12.04,
        rxBytes: 0,
        txBytes: 0,
      },
    ],
    portMapping: [
      { protocol: 'upnp', gateway: '10.0.0.1', state: 'refused', external: null, why: 'it is switched off' },
    ],
    advice: ['switch on UPnP on the router'],
  };
  const text = netcheckText(report);
  expect(text).toContain('UDP: works\nNAT: a NAT that gives another port for each destination');
  expect(text).toContain('; filtering dependent\nseen from outside: 203.0.113.9:5000\ninterfaces: 10.0.0.2:4000\n');
  expect(text).toContain('port mapping, upnp at 10.0.0.1: refused, it is switched off\n');
  expect(text).toMatch(/192\.0\.2\.1:3478 +203\.0\.113\.9:5000 +12\.0 ms\n/);
  expect(text).toMatch(/relay-eu +established +192\.0\.2\.1:7370 +12\.0 ms +home\n/);
  expect(text.endsWith('do: switch on UPnP on the router\n')).toBe(true);
});
