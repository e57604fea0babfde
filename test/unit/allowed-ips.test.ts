// Cryptokey routing: examples, a property test against a table that is searched from end to end, and 100,000 prefixes
// (paper §2; checklist 24).

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressBytes, type IpAddress, type IpPrefix, parsePrefix, prefixParts } from '../../src/base/ip.ts';
import { Prng } from '../../src/base/prng.ts';
import { AllowedIps } from '../../src/wireguard/allowed-ips.ts';

function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(`not a prefix: ${text}`);
  return parsed;
}

function lookup<T extends string | number>(table: AllowedIps<T>, address: string): T | undefined {
  const bytes = addressBytes(address as IpAddress);
  return table.lookup(bytes, 0, bytes.length === 4 ? 4 : 16);
}

/** The same table as a map from prefix to owner, searched from end to end. */
class Oracle {
  readonly owners = new Map<IpPrefix, string>();

  lookup(address: Uint8Array): string | undefined {
    let best: string | undefined;
    let bestLength = -1;
    for (const [text, owner] of this.owners) {
      const { bytes, length } = prefixParts(text);
      if (bytes.length !== address.length || length <= bestLength) continue;
      const bit = (value: Uint8Array, i: number): number => ((value[i >> 3] as number) >> (7 - (i & 7))) & 1;
      let same = true;
      for (let i = 0; i < length && same; i++) same = bit(bytes, i) === bit(address, i);
      if (same) {
        best = owner;
        bestLength = length;
      }
    }
    return best;
  }

  prefixesOf(owner: string): IpPrefix[] {
    return [...this.owners].filter(([, other]) => other === owner).map(([text]) => text);
  }
}

describe('cryptokey routing', () => {
  it('finds the longest prefix', () => {
    const table = new AllowedIps<string>();
    for (const [text, owner] of [
      ['0.0.0.0/0', 'default'],
      ['10.0.0.0/8', 'net'],
      ['10.1.0.0/16', 'subnet'],
      ['10.1.2.3/32', 'host'],
      ['::/0', 'default6'],
      ['2001:db8::/32', 'net6'],
      ['2001:db8::1/128', 'host6'],
    ] as const) {
      expect(table.insert(prefix(text), owner)).toBe(undefined);
    }
    expect(lookup(table, '192.0.2.1')).toBe('default');
    expect(lookup(table, '10.2.0.0')).toBe('net');
    expect(lookup(table, '10.1.255.255')).toBe('subnet');
    expect(lookup(table, '10.1.2.3')).toBe('host');
    expect(lookup(table, '::1')).toBe('default6');
    expect(lookup(table, '2001:db8:ffff::')).toBe('net6');
    expect(lookup(table, '2001:db8::1')).toBe('host6');
    expect(table.size).toBe(7);
  });

  it('keeps the families apart', () => {
    const table = new AllowedIps<string>();
    table.insert(prefix('0.0.0.0/0'), 'v4');
    expect(lookup(table, '::1')).toBe(undefined);
    table.insert(prefix('::/0'), 'v6');
    expect(lookup(table, '::1')).toBe('v6');
    expect(lookup(table, '0.0.0.1')).toBe('v4');
  });

  it('reads an address in the middle of a packet', () => {
    const table = new AllowedIps<string>();
    table.insert(prefix('10.0.0.2/32'), 'a');
    expect(table.lookup(new Uint8Array([9, 9, 9, 10, 0, 0, 2, 9]), 3, 4)).toBe('a');
  });

  it('takes a prefix from another owner, and does not give it back', () => {
    const table = new AllowedIps<string>();
    table.insert(prefix('10.0.0.0/24'), 'a');
    table.insert(prefix('10.0.0.7/32'), 'a');
    expect(table.insert(prefix('10.0.0.7/32'), 'b')).toBe('a');
    expect(table.size).toBe(2);
    expect([...table.prefixesOf('a')]).toEqual(['10.0.0.0/24']);
    expect(lookup(table, '10.0.0.7')).toBe('b');
    expect(table.remove(prefix('10.0.0.7/32'), 'a')).toBe(false);
    expect(lookup(table, '10.0.0.7')).toBe('b');
    expect(table.remove(prefix('10.0.0.7/32'), 'b')).toBe(true);
    expect(lookup(table, '10.0.0.7')).toBe('a');
    expect([...table.prefixesOf('b')]).toEqual([]);
    table.removeAll('a');
    expect(lookup(table, '10.0.0.7')).toBe(undefined);
    expect(table.size).toBe(0);
  });

  it('given again to its owner, keeps its place', () => {
    const table = new AllowedIps<string>();
    for (const text of ['10.0.0.1/32', '10.0.0.2/32', '10.0.0.1/32']) table.insert(prefix(text), 'a');
    expect([...table.prefixesOf('a')]).toEqual(['10.0.0.1/32', '10.0.0.2/32']);
    expect(table.size).toBe(2);
  });

  it('lists prefixes in the order of insertion, IPv4 first', () => {
    const table = new AllowedIps<string>();
    const texts = ['fd00::/8', '10.9.0.0/16', '10.0.0.0/8', '::/0', '0.0.0.0/0', '10.0.0.1/32'];
    for (const text of texts) table.insert(prefix(text), 'a');
    expect([...table.prefixesOf('a')]).toEqual([
      '10.9.0.0/16',
      '10.0.0.0/8',
      '0.0.0.0/0',
      '10.0.0.1/32',
      'fd00::/8',
      '::/0',
    ]);
  });

  it('agrees with a search from end to end, whatever is done to it', () => {
    // Few distinct bits, so that prefixes nest, fork and collide.
    const address = fc.oneof(
      fc.tuple(
        fc.constantFrom(0, 10, 11, 128),
        fc.constantFrom(0, 1, 255),
        fc.constantFrom(0, 128),
        fc.nat({ max: 7 }),
      ),
      fc
        .tuple(fc.constantFrom(0xfd, 0x20), fc.constantFrom(0, 1), fc.constantFrom(0, 1, 0x80), fc.nat({ max: 3 }))
        .map(([a, b, c, d]) => [a, b, 0, 0, c, 0, 0, 0, b, 0, 0, 0, c, 0, 0, d]),
    );
    const owner = fc.constantFrom('a', 'b', 'c', 'd');
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.tuple(fc.constant('insert' as const), address, fc.nat({ max: 128 }), owner) },
      { weight: 3, arbitrary: fc.tuple(fc.constant('remove' as const), address, fc.nat({ max: 128 }), owner) },
      { weight: 1, arbitrary: fc.tuple(fc.constant('removeAll' as const), address, fc.nat({ max: 128 }), owner) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(address, { maxLength: 20 }), (steps, probes) => {
        const table = new AllowedIps<string>();
        const oracle = new Oracle();
        for (const [what, at, bits, who] of steps) {
          const length = Math.min(bits, at.length * 8);
          const text = prefix(`${at.length === 4 ? at.join('.') : hexGroups(at)}/${length}`);
          if (what === 'insert') {
            expect(table.insert(text, who)).toBe(oracle.owners.get(text));
            // A prefix that changes hands goes to the end of its new owner's list.
            if (oracle.owners.get(text) !== who) oracle.owners.delete(text);
            oracle.owners.set(text, who);
          } else if (what === 'remove') {
            const mine = oracle.owners.get(text) === who;
            expect(table.remove(text, who)).toBe(mine);
            if (mine) oracle.owners.delete(text);
          } else {
            const mine = oracle.prefixesOf(who);
            expect(table.removeAll(who)).toBe(mine.length);
            for (const text of mine) oracle.owners.delete(text);
          }
        }
        expect(table.size).toBe(oracle.owners.size);
        for (const who of ['a', 'b', 'c', 'd']) {
          const byFamily = (six: boolean): IpPrefix[] =>
            oracle.prefixesOf(who).filter((text) => text.includes(':') === six);
          expect([...table.prefixesOf(who)]).toEqual([...byFamily(false), ...byFamily(true)]);
        }
        const inserted = steps.map(([, at]) => at);
        for (const at of [...probes, ...inserted]) {
          const bytes = new Uint8Array(at);
          expect(table.lookup(bytes, 0, bytes.length === 4 ? 4 : 16)).toBe(oracle.lookup(bytes));
        }
      }),
      { numRuns: 400 },
    );
  });

  it('holds 100,000 prefixes: each found again, listed and removed', () => {
    const count = 100_000;
    const random = new Prng(24);
    const table = new AllowedIps<number>();
    const texts: IpPrefix[] = [];
    for (let i = 0; i < count; i++) {
      const at = `${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
      texts.push(
        i % 2 === 0
          ? prefix(`10.${at}/32`)
          : prefix(
              `fd00:${random.nextInt(0, 0xffff).toString(16)}::${(i >> 8).toString(16)}:${(i & 255).toString(16)}/128`,
            ),
      );
    }
    const started = process.cpuUsage();
    for (let i = 0; i < count; i++) table.insert(texts[i] as IpPrefix, i);
    // Processor time, so that busy neighbours do not count. 0.2 s on a quiet machine.
    expect(process.cpuUsage(started).user / 1000).toBeLessThan(1000);
    expect(table.size).toBe(count);
    for (let i = 0; i < count; i += 7) {
      const { bytes } = prefixParts(texts[i] as IpPrefix);
      expect(table.lookup(bytes, 0, bytes.length === 4 ? 4 : 16)).toBe(i);
      expect([...table.prefixesOf(i)]).toEqual([texts[i]]);
    }
    for (let i = 0; i < count; i += 2) expect(table.remove(texts[i] as IpPrefix, i)).toBe(true);
    expect(table.size).toBe(count / 2);
    for (let i = 1; i < count; i += 2) expect(table.removeAll(i)).toBe(1);
    expect(table.size).toBe(0);
  });
});

function hexGroups(bytes: readonly number[]): string {
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((((bytes[i] as number) << 8) | (bytes[i + 1] as number)).toString(16));
  return groups.join(':');
}
