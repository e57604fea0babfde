// STUN with others: coturn's clients against the controller, our client against coturn's server, and both against ourselves, through
// what stands between: nothing, a firewall, a NAT that keeps ports, a NAT that draws them anew (RFC 8489, RFC 5780).

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../src/base/ip.ts';
import { judgeMapping, type NatBehaviour } from '../../src/path/stun/behaviour.ts';
import {
  CLIENT4,
  CLIENT6,
  HAS_COTURN,
  type ReadyLine,
  ROUTER4,
  ROUTERS,
  type Router,
  SERVER4,
  SERVER6,
  StunLab,
} from './lib/stun-lab.ts';
import { CAN_RUN } from './lib/subject.ts';

interface Truth {
  /** Where a server sees the client. */
  readonly seen: string;
  readonly behaviour: Pick<NatBehaviour, 'mapping' | 'filtering'>;
  /** In turnutils_natdiscovery's words. */
  readonly words: { readonly mapping: string; readonly filtering: string };
}

const CLOSED = 'NAT with Address and Port Dependent Filtering!';
const TRUTH: Readonly<Record<Router, Truth>> = {
  plain: {
    seen: CLIENT4,
    behaviour: { mapping: 'none', filtering: 'endpointIndependent' },
    words: { mapping: 'No NAT!', filtering: 'NAT with Endpoint Independent Filtering!' },
  },
  firewall: {
    seen: CLIENT4,
    behaviour: { mapping: 'none', filtering: 'addressAndPortDependent' },
    words: { mapping: 'No NAT!', filtering: CLOSED },
  },
  keepsPorts: {
    seen: ROUTER4,
    behaviour: { mapping: 'endpointIndependent', filtering: 'addressAndPortDependent' },
    words: { mapping: 'NAT with Endpoint Independent Mapping!', filtering: CLOSED },
  },
  drawsPorts: {
    seen: ROUTER4,
    behaviour: { mapping: 'addressAndPortDependent', filtering: 'addressAndPortDependent' },
    words: { mapping: 'NAT with Address and Port Dependent Mapping!', filtering: CLOSED },
  },
};

/** Our client, through every router, against whatever serves at SERVER4. */
function ourClientFindsOut(lab: () => StunLab): void {
  it.each(ROUTERS)('our client finds out what a router does: %s', async (router) => {
    await lab().route(router);
    const { seen, behaviour } = TRUTH[router];
    const servers = SERVER4.flatMap((address) => [`${address}:3478`, `${address}:3479`]);
    const report = await lab().drive(CLIENT4, servers, `${SERVER4[0]}:3478`);
    expect(report.behaviour).toMatchObject({ ...behaviour, problem: null });
    expect(report.behaviour?.reflexive?.replace(/:\d+$/, '')).toBe(seen);
    const results = report.asked?.results ?? [];
    expect(results).toHaveLength(4);
    const observations = results.flatMap((result) => (result.kind === 'reflexive' ? [result] : []));
    expect(observations.map(({ reflexive }) => reflexive.replace(/:\d+$/, ''))).toEqual([seen, seen, seen, seen]);
    for (const { rttMs } of observations) expect(rttMs).toBeLessThan(1_000);
    const simple = { none: 'none', endpointIndependent: 'independent', addressAndPortDependent: 'varies' } as const;
    expect(judgeMapping(observations, [report.asked?.local as Endpoint], 4)).toEqual({
      mapping: simple[behaviour.mapping as keyof typeof simple],
      certain: true,
    });
  });
}

describe.skipIf(!CAN_RUN || !HAS_COTURN)('our client and coturn as a server', () => {
  let lab: StunLab;

  beforeAll(async () => {
    lab = await StunLab.open('stunturn');
    await lab.startCoturn();
  });
  afterAll(() => lab?.close());

  ourClientFindsOut(() => lab);

  it('over IPv6', async () => {
    const report = await lab.drive(CLIENT6, [`[${SERVER6[1]}]:3478`], `[${SERVER6[0]}]:3478`);
    expect(report.asked?.results).toMatchObject([{ kind: 'reflexive', reflexive: report.asked?.local }]);
    expect(report.behaviour).toMatchObject({ mapping: 'none', filtering: 'endpointIndependent', problem: null });
  });
});

describe.skipIf(!CAN_RUN || !HAS_COTURN)('the controller with two addresses', () => {
  let lab: StunLab;
  let ready: ReadyLine;

  beforeAll(async () => {
    lab = await StunLab.open('stunfour');
    const stun = ['--stun', `${SERVER4[0]}:3478`, '--stun-alternate', SERVER4[1]];
    ({ ready } = await lab.startController('four', ...stun));
    expect(ready.stunPorts).toEqual([3_478, 3_479]);
  });
  afterAll(() => lab?.close());

  ourClientFindsOut(() => lab);

  it.each(ROUTERS)('turnutils_natdiscovery finds out what a router does: %s', async (router) => {
    await lab.route(router);
    const { words, seen } = TRUTH[router];
    // Its waiting for answers that do not come takes six seconds: once is enough for the closed ones.
    for (const padding of router === 'plain' ? [[], ['-P']] : [[]]) {
      const discover = ['turnutils_natdiscovery', '-L', CLIENT4, '-m', '-f', ...padding, SERVER4[0]];
      const output = await lab.client.must(discover, { timeoutMs: 60_000 });
      const [, mapping = '', filtering = ''] = output.split(/-= (?:Mapping|Filtering) Behavior Discovery =-/);
      expect(mapping).toContain(words.mapping);
      expect(filtering).toContain(words.filtering);
      expect(output).toContain(`Response origin: : ${SERVER4[0]}:3478`);
      expect(output).toContain(`Other addr: : ${SERVER4[1]}:3479`);
      expect(output).toContain(`UDP reflexive addr: ${seen}:`);
      expect(output).not.toContain('ALG detected');
      // MAPPED-ADDRESS only where the question has room for it.
      expect(output.includes('No ALG: Mapped == XOR-Mapped')).toBe(padding.length > 0);
    }
  });

  it('turnutils_stunclient goes through the tests of RFC 5780', async () => {
    await lab.route('plain');
    const output = await lab.client.must(['turnutils_stunclient', '-L', CLIENT4, SERVER4[0]], { timeoutMs: 60_000 });
    for (const number of [1, 2, 3]) expect(output).toContain(`RFC 5780 response ${number}`);
    expect(output).toContain(`UDP reflexive addr: ${CLIENT4}:`);
    // Its second request has CHANGE-REQUEST and RESPONSE-PORT, its third PADDING.
    for (const origin of [`${SERVER4[0]}:3478`, `${SERVER4[1]}:3479`])
      expect(output).toContain(`Response origin: : ${origin}`);
  });

  it('answers elsewhere when it is asked to, by which turnutils_natdiscovery measures lifetimes', async () => {
    await lab.route('plain');
    const lifetime = ['turnutils_natdiscovery', '-L', CLIENT4, '-t', '-T', '1', SERVER4[0]];
    const output = await lab.client.must(lifetime, { timeoutMs: 60_000 });
    expect(output).toContain('RFC 5780 response 2');
    expect(output).not.toContain('timeout');
  });

  it('has counted all of it, and turned nobody away', async () => {
    const events = await lab.stunEvents(ready);
    expect(events.get('answered')).toBeGreaterThan(30);
    for (const event of ['networkLimited', 'totalLimited', 'badAttribute', 'badLength', 'notStun', 'sendFailed']) {
      expect([event, events.get(event)]).toEqual([event, 0]);
    }
  });
});

describe.skipIf(!CAN_RUN || !HAS_COTURN)('the controller as it is without options', () => {
  let lab: StunLab;
  let ready: ReadyLine;

  beforeAll(async () => {
    lab = await StunLab.open('stunplain');
    ({ ready } = await lab.startController('plain'));
  });
  afterAll(() => lab?.close());

  it('answers turnutils_stunclient on both ports and in both families', async () => {
    await lab.route('keepsPorts');
    expect(ready.stunPorts).toEqual([3_478, 3_479]);
    for (const port of ready.stunPorts) {
      const four = await lab.client.must(['turnutils_stunclient', '-p', `${port}`, SERVER4[0]]);
      expect(four).toContain(`UDP reflexive addr: ${ROUTER4}:`);
      expect(four).not.toContain('RFC 5780');
      const six = await lab.client.must(['turnutils_stunclient', '-p', `${port}`, SERVER6[0]]);
      expect(six).toContain(`UDP reflexive addr: ${CLIENT6}:`);
    }
  });

  it('tells our client whether the NAT keeps the mapping, though not how it filters', async () => {
    for (const [router, mapping] of [
      ['keepsPorts', 'independent'],
      ['drawsPorts', 'varies'],
    ] as const) {
      await lab.route(router);
      const servers = ready.stunPorts.map((port) => `${SERVER4[0]}:${port}`);
      const report = await lab.drive(CLIENT4, servers, `${SERVER4[0]}:3478`);
      const observations = (report.asked?.results ?? []).flatMap((result) =>
        result.kind === 'reflexive' ? [result] : [],
      );
      // Two ports of one address: that it does not map by address is likely, not certain.
      expect(judgeMapping(observations, [], 4)).toEqual({ mapping, certain: mapping === 'varies' });
      expect(report.behaviour).toMatchObject({ mapping: 'unknown', filtering: 'unknown', problem: 'noOtherAddress' });
    }
  });

  it('keeps another controller from STUN, not from starting', async () => {
    const second = await lab.startController('second');
    expect(second.ready.stunPorts).toEqual([]);
    expect(second.errors()).toMatch(/^error STUN is not answered on .+ why="UDP port 3478 is in use" do=.+--stun off/);
    const third = await lab.startController('third', '--stun', 'off');
    expect(third.errors()).toBe('');
  });
});
