// docs/wireguard-checklist.md names a test for every rule of the tunnel: each must be there. Whether it holds the rule is for
// readers and for planted bugs to say.

import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const ROOT = new URL('../../', import.meta.url);
const PAGE = readFileSync(new URL('docs/wireguard-checklist.md', ROOT), 'utf8');
const FOLDERS: readonly [string, string][] = [
  ['lifecycle/', 'test/unit/lifecycle/'],
  ['native/', 'native/test/'],
  ...['unit/', 'conformance/', 'interop/', 'vectors/', 'property/'].map((name): [string, string] => [
    name,
    `test/${name}`,
  ]),
];

function holders(row: string): { file: string; title: string }[] {
  const cell = row.split(' | ').at(-1)?.replace(/ \|$/, '') ?? '';
  return cell.split('<br>').map((holder) => {
    const parts = /^`([^`]+)` › (.+)$/.exec(holder.trim());
    if (parts === null) throw new Error(`no file and title in: ${holder}`);
    const [, short = '', title = ''] = parts;
    const [prefix, folder] = FOLDERS.find(([name]) => short.startsWith(name)) ?? ['', ''];
    return { file: folder + short.slice(prefix.length), title };
  });
}

const rows = PAGE.split('\n').filter((line) => line.startsWith('| ') && line.includes(' › '));

test('the checklist has every number from 1 to 45 once', () => {
  const numbers = rows.map((row) => /^\| (\d+) \|/.exec(row)?.[1]).filter((number) => number !== undefined);
  expect(numbers.map(Number)).toEqual(Array.from({ length: 45 }, (_, i) => i + 1));
});

test('every test that the checklist names is there', () => {
  const missing = rows.flatMap(holders).filter(({ file, title }) => {
    const path = new URL(file, ROOT);
    return !existsSync(path) || !readFileSync(path, 'utf8').includes(title);
  });
  expect(missing).toEqual([]);
});
