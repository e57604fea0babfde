// The command line as a person meets it: help for every command, exit codes, wrong usage told with what to do. docs/cli.md.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { CliIo } from '../../src/cli/command.ts';
import { main } from '../../src/cli/main.ts';

const MANIFEST = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

interface Result {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

async function run(program: string, ...argv: string[]): Promise<Result> {
  let out = '';
  let error = '';
  const io: CliIo = {
    env: {},
    argv,
    out: (text) => {
      out += text;
    },
    error: (text) => {
      error += text;
    },
    interactive: false,
  };
  return { code: await main(argv, program, io), out, error };
}

const warren = (...argv: string[]): Promise<Result> => run('warren', ...argv);

describe('help', () => {
  it.each(['wg', 'show', 'version'])('is there for warren %s, in every way of asking', async (name) => {
    const byOption = await warren(name, '--help');
    expect(byOption).toMatchObject({ code: 0, error: '' });
    expect(byOption.out).toContain(`usage: warren ${name}`);
    expect(await warren('help', name)).toEqual(byOption);
    expect(await warren(name, '-h')).toEqual(byOption);
    for (const line of byOption.out.split('\n')) expect(line.length).toBeLessThanOrEqual(88);
  });

  it('lists every command', async () => {
    const { code, out } = await warren('--help');
    expect(code).toBe(0);
    for (const name of ['wg', 'show', 'version', 'help']) expect(out).toMatch(new RegExp(`^  ${name} `, 'm'));
  });

  it('is there for the drop-in', async () => {
    const { code, out } = await run('warren-wg', '--help');
    expect(code).toBe(0);
    expect(out).toContain('usage: warren-wg [OPTION …] IFNAME');
  });
});

describe('version', () => {
  it('is the one in package.json', async () => {
    expect(await warren('--version')).toEqual({ code: 0, out: `warren ${MANIFEST.version}\n`, error: '' });
    expect(await warren('version')).toEqual({ code: 0, out: `warren ${MANIFEST.version}\n`, error: '' });
    expect((await run('warren-wg', '--version')).out).toBe(`warren-wg ${MANIFEST.version}\n`);
  });

  it('is there as JSON', async () => {
    const { out } = await warren('version', '--json');
    expect(JSON.parse(out)).toMatchObject({ version: MANIFEST.version, node: process.versions.node, fault: null });
    expect(JSON.parse(out)['aead']).toMatch(/^[a-z0-9-]+$/);
  });
});

describe('wrong usage', () => {
  it.each([
    [['bogus'], 'no command "bogus"', 'warren --help'],
    [['--bogus'], 'no option "--bogus"', 'warren --help'],
    [['wg'], 'name of the interface is missing', 'warren wg --help'],
    [['wg', 'wg0', 'wg1'], '"wg1" is too much', 'warren wg --help'],
    [['wg', 'a-name-too-long-'], 'at most 15 characters', 'warren wg --help'],
    [['wg', '../wg0'], 'letters, digits', 'warren wg --help'],
    [['wg', '..'], 'letters, digits', 'warren wg --help'],
    [['wg', 'wg 0'], 'letters, digits', 'warren wg --help'],
    [['wg', '--mtu', '20', 'wg0'], '--mtu wants a whole number', 'warren wg --help'],
    [['wg', '--mtu', '1e4', 'wg0'], '--mtu wants a whole number', 'warren wg --help'],
    [['wg', '--queues=0', 'wg0'], '--queues wants', 'warren wg --help'],
    [['wg', '--idle-timeout', 'never', 'wg0'], '--idle-timeout wants', 'warren wg --help'],
    [['wg', '-f', '-b', 'wg0'], 'either -f or -b', 'warren wg --help'],
    [['wg', '--colour', 'wg0'], "Unknown option '--colour'", 'warren wg --help'],
    [['show', 'wg0', 'wg1'], '"wg1" is too much', 'warren show --help'],
    [['show', 'a/b'], 'letters, digits', 'warren show --help'],
    [['version', 'x'], 'takes no argument', 'warren version --help'],
    [['help', 'wg', 'x'], '"x" is too much', 'warren --help'],
    [['help', 'nosuch'], 'no command "nosuch"', 'warren --help'],
  ])('%j', async (argv, message, advice) => {
    const { code, out, error } = await warren(...argv);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(error).toContain(message);
    expect(error).toContain(`see ${advice}\n`);
  });

  it('shows the commands when there is none', async () => {
    const { code, out, error } = await warren();
    expect([code, out]).toEqual([2, '']);
    expect(error).toContain('usage: warren COMMAND');
  });

  it('of the drop-in points to its own help', async () => {
    const { code, error } = await run('warren-wg');
    expect(code).toBe(2);
    expect(error).toContain('see warren-wg --help');
  });
});
