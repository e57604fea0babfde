// The lab without Warren, as a table: what each place does to UDP as a third party sees it, and which pairs of plain sockets meet, beside
// what permits.ts says.

import type { Verdict } from '../../../../src/sim/nat/permits.ts';
import { type Discovered, discover, punch } from './discover.ts';
import { allPairs, forEachPair } from './pairs.ts';
import { table, triangle } from './tables.ts';
import { commonFamilies, expectation, type Inhabited, socketsOf, type World } from './world.ts';

const PAIRS_AT_ONCE = 2;

export interface RawPlace {
  readonly name: string;
  readonly ipv4: Discovered | 'blocked' | null;
  readonly ipv6: Discovered | 'blocked' | null;
}

export interface RawPair {
  readonly a: string;
  readonly b: string;
  readonly expected: Verdict;
  readonly met: boolean;
}

export interface RawMatrix {
  readonly places: readonly RawPlace[];
  readonly pairs: readonly RawPair[];
}

export async function rawMatrix({ inhabited, reflector }: World): Promise<RawMatrix> {
  const places: RawPlace[] = [];
  for (const { site, agent } of inhabited) {
    const seen = async (family: 4 | 6, has: boolean): Promise<RawPlace['ipv4']> =>
      has ? ((await discover(agent, reflector, family)) ?? 'blocked') : null;
    const [ipv4, ipv6] = [await seen(4, site.place.ipv4 !== null), await seen(6, site.place.ipv6 !== null)];
    places.push({ name: site.name, ipv4, ipv6 });
  }
  const mute = (of: Inhabited): boolean => {
    const place = places.find(({ name }) => name === of.site.name);
    return [place?.ipv4, place?.ipv6].every((seen) => seen === null || seen === 'blocked');
  };
  const pairs = await forEachPair(allPairs(inhabited), PAIRS_AT_ONCE, async (a, b): Promise<RawPair> => {
    let met = false;
    const families = mute(a) || mute(b) ? [] : commonFamilies(a.site.place, b.site.place);
    for (const family of families) met ||= await punch(await socketsOf(a, b, family), reflector);
    return { a: a.site.name, b: b.site.name, expected: expectation(a.site, b.site), met };
  });
  return { places, pairs };
}

export function unexpected({ pairs }: RawMatrix): readonly RawPair[] {
  return pairs.filter(({ expected, met }) => met !== (expected.path === 'direct'));
}

export function printRaw(matrix: RawMatrix): string {
  const told = (seen: RawPlace['ipv4']): readonly string[] => {
    if (seen === null) return ['–', '', ''];
    if (seen === 'blocked') return ['blocked', '', ''];
    return [seen.translates ? seen.mapping : 'not translated', seen.filtering, seen.portAllocation];
  };
  const rows = matrix.places.flatMap(({ name, ipv4, ipv6 }) => [
    ...(ipv4 === null ? [] : [[name, 'IPv4', ...told(ipv4)]]),
    ...(ipv6 === null ? [] : [[name, 'IPv6', ...told(ipv6)]]),
  ]);
  const names = matrix.places.map(({ name }) => name);
  const cell = (row: number, column: number): string => {
    const pair = matrix.pairs.find(({ a, b }) => a === names[column] && b === names[row]);
    if (pair === undefined) return '·';
    const wrong = pair.met === (pair.expected.path === 'direct') ? '' : '!';
    return `${pair.met ? 'D' : '–'}${wrong}`;
  };
  const wrong = unexpected(matrix).length;
  return [
    'What a third party sees of each place (RFC 5780):\n',
    table(['place', '', 'mapping', 'filtering', 'ports'], rows),
    '\nWhich pairs of plain sockets meet (D; –: not; !: not as RFC 4787 has it):\n',
    triangle(names, cell),
    `\n${matrix.pairs.length} pairs, ${wrong} not as expected`,
  ].join('\n');
}
