// The rules that keep the rooms apart and the pure rooms pure must find what they forbid: each is broken on purpose in a
// small tree, and the checker has to name it. A rule that matches nothing would otherwise look like a clean tree.

import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { cruise } from 'dependency-cruiser';
import extractTsConfig from 'dependency-cruiser/config-utl/extract-ts-config';
import { describe, expect, test } from 'vitest';
import { root } from '../lib/files.mjs';
import { problems } from '../lib/house-rules.mjs';
import { scratch } from './scratch.mjs';

const OPENING = '// What it is.\n// What it leaves out.\n';
const require = createRequire(import.meta.url);

function node(script, args, cwd) {
  const result = spawnSync(process.execPath, [join(root, script), ...args], { cwd, encoding: 'utf8' });
  return { code: result.status, output: `${result.stdout}${result.stderr}` };
}

function tree(files) {
  const directory = scratch('rules', {
    ...files,
    'package.json':
      '{ "type": "module", "dependencies": { "@noble/hashes": "*" }, "devDependencies": { "fast-check": "*" } }',
  });
  for (const name of ['.dependency-cruiser.cjs', 'biome.json', 'tsconfig.json', 'tsconfig.base.json']) {
    copyFileSync(join(root, name), join(directory, name));
  }
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  return directory;
}

describe('dependency rules', () => {
  const configuration = require(join(root, '.dependency-cruiser.cjs'));

  /** Names of the rules that the tree breaks. In this process: a compiler's start for each tree would take minutes. */
  async function broken(directory, targets) {
    const { forbidden, options } = configuration;
    const { enhancedResolveOptions, ...rest } = options;
    const { output } = await cruise(
      targets,
      { ...rest, ruleSet: { forbidden }, validate: true, baseDir: directory, outputType: 'json' },
      enhancedResolveOptions,
      { tsConfig: extractTsConfig(join(directory, 'tsconfig.json')) },
    );
    return [...new Set(JSON.parse(output).summary.violations.map((violation) => violation.rule.name))];
  }

  const leaf = 'export const leaf = 1;\n';
  const uses = (...paths) =>
    `${paths.map((path, i) => `import { leaf as l${i} } from '${path}';\n`).join('')}export const leaf = 1;\n`;
  const type = (path) => `import type { T } from '${path}';\nexport type T2 = T;\nexport const leaf = 1;\n`;

  /** Rule → the smallest tree that breaks it. */
  const BROKEN = {
    'no-cycles': { 'src/base/a.ts': uses('./b.ts'), 'src/base/b.ts': uses('./a.ts') },
    'no-orphans': { 'src/base/a.ts': leaf },
    'no-unresolvable': { 'src/base/a.ts': uses('./gone.ts') },
    'no-dev-dependencies-in-product': { 'src/daemon/a.ts': uses('fast-check') },
    'no-tests-in-product': { 'src/daemon/a.ts': uses('../../test/b.ts'), 'test/b.ts': leaf },
    'pure-rooms-without-node': { 'src/wireguard/a.ts': uses('node:fs') },
    'pure-rooms-without-packages': { 'src/noise/a.ts': uses('@noble/hashes/blake2.js') },
    'base-imports-nothing': { 'src/base/a.ts': uses('../noise/b.ts'), 'src/noise/b.ts': leaf },
    'provider-imports-base': { 'src/crypto/provider.ts': uses('./node.ts'), 'src/crypto/node.ts': leaf },
    'crypto-imports-base': { 'src/crypto/node.ts': uses('../noise/b.ts'), 'src/noise/b.ts': leaf },
    'noise-imports-base-and-provider': { 'src/noise/a.ts': uses('../crypto/node.ts'), 'src/crypto/node.ts': leaf },
    'wireguard-imports-the-seam-only': {
      'src/wireguard/a.ts': uses('../dataplane/native/b.ts'),
      'src/dataplane/native/b.ts': leaf,
    },
    'dataplane-seam-imports-base': {
      'src/dataplane/dataplane.ts': uses('../wireguard/b.ts'),
      'src/wireguard/b.ts': leaf,
    },
    'reference-plane-is-self-contained': {
      'src/dataplane/reference/a.ts': uses('../../wireguard/peer.ts'),
      'src/wireguard/peer.ts': leaf,
    },
    'native-plane-is-an-adapter': {
      'src/dataplane/native/a.ts': uses('../../wireguard/b.ts'),
      'src/wireguard/b.ts': leaf,
    },
    'service-imports-the-addon-alone': {
      'src/service/a.ts': uses('../dataplane/native/b.ts'),
      'src/dataplane/native/b.ts': leaf,
    },
    'path-imports-base': { 'src/path/a.ts': uses('../wireguard/b.ts'), 'src/wireguard/b.ts': leaf },
    'protocol-imports-base': {
      'src/protocol/a.ts': type('../mesh/b.ts'),
      'src/mesh/b.ts': 'export type T = number;\n',
    },
    'mesh-is-the-facade': { 'src/mesh/a.ts': uses('../daemon/b.ts'), 'src/daemon/b.ts': leaf },
    'link-is-the-control-channel': { 'src/link/a.ts': uses('../wireguard/b.ts'), 'src/wireguard/b.ts': leaf },
    'daemon-imports-no-other-process': { 'src/daemon/a.ts': uses('../controller/b.ts'), 'src/controller/b.ts': leaf },
    'controller-imports-no-other-process': { 'src/controller/a.ts': uses('../relay/b.ts'), 'src/relay/b.ts': leaf },
    'relay-imports-no-other-process': { 'src/relay/a.ts': uses('../daemon/b.ts'), 'src/daemon/b.ts': leaf },
    'cli-imports-base-and-protocol': { 'src/cli/a.ts': uses('../wireguard/b.ts'), 'src/wireguard/b.ts': leaf },
    'cli-loads-processes-lazily': { 'src/cli/a.ts': uses('../daemon/main.ts'), 'src/daemon/main.ts': leaf },
    'web-imports-base-and-protocol': { 'web/a.ts': uses('../src/mesh/b.ts'), 'src/mesh/b.ts': leaf },
    'sim-drives-pure-rooms': { 'src/sim/a.ts': uses('../daemon/b.ts'), 'src/daemon/b.ts': leaf },
    'sim-is-for-tests': { 'src/daemon/a.ts': uses('../sim/b.ts'), 'src/sim/b.ts': leaf },
  };

  test('every rule of the configuration has a tree here that breaks it, and a reason', () => {
    expect(configuration.forbidden.map((rule) => rule.name).sort()).toEqual(Object.keys(BROKEN).sort());
    for (const rule of configuration.forbidden) expect(rule.comment.length, rule.name).toBeGreaterThan(40);
  });

  test.each(Object.entries(BROKEN))('%s is found when it is broken', async (rule, files) => {
    const directory = tree({ 'test/all.ts': leaf, ...files });
    const inWeb = Object.keys(files).some((path) => path.startsWith('web/'));
    expect(await broken(directory, inWeb ? ['src', 'test', 'web'] : ['src', 'test'])).toContain(rule);
  });

  test('a tree that keeps the rules passes', async () => {
    const directory = tree({
      'src/base/a.ts': leaf,
      'src/crypto/provider.ts': uses('../base/a.ts'),
      'src/noise/a.ts': uses('../base/a.ts', '../crypto/provider.ts'),
      'src/dataplane/dataplane.ts': uses('../base/a.ts'),
      'src/wireguard/a.ts': uses('../noise/a.ts', '../crypto/provider.ts', '../dataplane/dataplane.ts'),
      'src/daemon/main.ts': uses('../wireguard/a.ts', 'node:fs'),
      'src/cli/main.ts': `${uses('../base/a.ts')}export const go = () => import('../daemon/main.ts');\n`,
      'test/all.ts': uses('../src/sim/a.ts'),
      'src/sim/a.ts': uses('../wireguard/a.ts'),
    });
    expect(await broken(directory, ['src', 'test'])).toEqual([]);
  });

  test('`npm run deps` fails on a broken tree', () => {
    const directory = tree({ 'test/all.ts': leaf, 'bench/all.ts': leaf, ...BROKEN['base-imports-nothing'] });
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const [tool, ...args] = scripts.deps.split(' ');
    expect(tool).toBe('depcruise');
    const { code, output } = node('node_modules/dependency-cruiser/bin/dependency-cruise.mjs', args, directory);
    expect(output).toContain('error base-imports-nothing: src/base/a.ts → src/noise/b.ts');
    expect(code).not.toBe(0);
  });
});

describe('pure rooms', () => {
  const found = (path, line) => [...problems(path, `${OPENING}${line}\n`)];

  test.each([
    ['Date', 'export const x = Date.now();'],
    ['Date', 'export const x = new Date();'],
    ['performance', 'export const x = performance.now();'],
    ['setTimeout', 'export const x = setTimeout(() => 1, 1);'],
    ['setInterval', 'export const x = setInterval(() => 1, 1);'],
    ['Promise', 'export const x = Promise.resolve(1);'],
    ['process', 'export const x = process.pid;'],
    ['console', "console.log('x');"],
    ['Buffer', 'export const x = Buffer.alloc(1);'],
    ['globalThis', "export const x = globalThis['Date'];"],
    ['crypto', 'export const x = crypto.randomUUID();'],
  ])('the linter refuses %s in them: %s', (name, line) => {
    const directory = tree({ 'src/wireguard/a.ts': `${OPENING}${line}\n` });
    const { code, output } = node('node_modules/@biomejs/biome/bin/biome', ['lint', '--colors=off', 'src'], directory);
    expect(output).toContain(`Do not use the global variable ${name}.`);
    expect(code).not.toBe(0);
  });

  test.each([
    ['Math.random', 'export const x = Math.random();'],
    ['Math.random', "export const x = Math['random']();"],
    ['Math.random', 'const { random } = Math; export const x = random();'],
    ['async', 'export async function f() {}'],
    ['async', 'export const f = async () => 1;'],
    ['async', 'export class K { async m() {} }'],
    ['await', 'await f();'],
    ['await', 'for await (const x of y) f(x);'],
    ['import()', "export const x = import('./b.ts');"],
  ])('the house rules refuse %s in them: %s', (name, line) => {
    expect(found('src/wireguard/a.ts', line)).toContainEqual([
      3,
      expect.stringMatching(new RegExp(`^${name.replace('()', '\\(\\)')}: `)),
    ]);
    expect(found('src/daemon/a.ts', line)).toEqual([]);
    expect(found('src/sim/main.ts', line)).toEqual([]);
  });

  test('mathematics without chance is allowed in them', () => {
    expect(found('src/base/a.ts', 'export const x = Math.floor(1.5) + Math.imul(2, 3);')).toEqual([]);
  });
});

describe('house rules', () => {
  test.each([
    ['opening comment of 0 lines', 1, 'export const x = 1;\n'],
    ['opening comment of 1 lines', 1, '// Too short.\nexport const x = 1;\n'],
    ['a suppression', 3, `${OPENING}// ${'biome-' + 'ignore'} lint: because\n`],
    ['a suppression', 3, `${OPENING}// ${'@ts-' + 'expect-error'}\n`],
    ['a note of unfinished work', 3, `${OPENING}// ${'TO' + 'DO'} later\n`],
    ['601 lines', 600, OPENING + 'export {};\n'.repeat(598)],
  ])('%s is found', (what, line, content) => {
    expect([...problems('src/daemon/a.ts', content)]).toEqual([[line, expect.stringContaining(what)]]);
  });

  test('the check fails on a tree with a problem, and on an empty one; it passes a good one', () => {
    const check = (files) => node('scripts/check-sources.mjs', ['--root', scratch('house', files)]);
    expect(check({ 'native/a.cc': 'int x;\n' })).toMatchObject({
      code: 1,
      output: expect.stringContaining('native/a.cc:1: opening comment of 0 lines'),
    });
    expect(check({})).toMatchObject({ code: 1 });
    expect(check({ 'native/a.cc': `${OPENING}int x;\n` })).toMatchObject({ code: 0 });
  });
});
