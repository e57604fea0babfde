// The commands of administration before they do anything: wrong usage told with where the help is, the help itself, and times as
// people write and read them.

import { describe, expect, it } from 'vitest';
import { controllerCommand } from '../../../src/cli/commands/controller.ts';
import { durationOption, parseDuration, relative } from '../../../src/cli/duration.ts';
import { run } from './cli-run.ts';

describe('wrong usage', () => {
  it.each([
    [['keys'], 'say what to do with keys: create, list or revoke', 'warren keys --help'],
    [['keys', 'crate'], 'did you mean "create"?', 'warren keys --help'],
    [['key'], 'did you mean "keys"?', 'warren --help'],
    [['keys', 'create', 'x'], '"x" is too much', 'warren keys create --help'],
    [['keys', 'create', '--expires', 'soon'], '--expires wants a time', 'warren keys create --help'],
    [['keys', 'create', '--expires', '11y'], '--expires wants a time', 'warren keys create --help'],
    [['keys', '--data', '/x', 'create', 'x'], '"x" is too much', 'warren keys create --help'],
    [['keys', 'revoke'], 'say which keys', 'warren keys revoke --help'],
    [['keys', 'revoke', 'abc'], 'is not the id of a key', 'warren keys revoke --help'],
    [['nodes', 'show'], 'name the node', 'warren nodes show --help'],
    [['nodes', 'show', 'a', 'b'], '"b" is too much', 'warren nodes show --help'],
    [['nodes', 'rename', 'a'], 'its new name', 'warren nodes rename --help'],
    [['nodes', 'rename', 'a', 'B!'], 'lower case letters', 'warren nodes rename --help'],
    [['nodes', 'address', 'a', '300.1.1.1'], 'is not an IP address', 'warren nodes address --help'],
    [['nodes', 'address', 'a', '100.80.0.9', '100.80.0.8'], 'one address of each family', 'warren nodes address'],
    [['nodes', 'tag', 'a'], 'give the tags', 'warren nodes tag --help'],
    [['nodes', 'tag', 'a', 'b', '--clear'], 'give the tags', 'warren nodes tag --help'],
    [['nodes', 'list', '--state', 'on'], '--state wants one of', 'warren nodes list --help'],
    [['tokens', 'create'], 'name the token', 'warren tokens create --help'],
    [['tokens', 'create', 'ci'], 'say what it may do', 'warren tokens create --help'],
    [['tokens', 'create', 'ci', '--scope', 'nodes:raed'], 'did you mean "nodes:read"?', 'warren tokens create --help'],
    [['audit', '--limit', '0'], '--limit wants a whole number', 'warren audit --help'],
    [['nodes', 'list', '--url', 'http://a'], '--url needs a token', 'warren nodes list --help'],
    [['nodes', 'list', '--url', 'a.example'], '--url wants http(s)://', 'warren nodes list --help'],
    [['nodes', 'list', '--url', 'http://a', '--data', 'x'], 'either --data or --url', 'warren nodes list --help'],
    [['nodes', 'list', '--token-file', 'x'], '--token-file goes with --url', 'warren nodes list --help'],
    [['nodes', 'list', '--token', 'x'], "Unknown option '--token'", 'warren nodes list --help'],
    [['controller', 'approval'], 'say on or off', 'warren controller approval --help'],
    [['controller', 'approval', 'yes'], 'say on or off', 'warren controller approval --help'],
    [['controller', 'backup'], 'name the file', 'warren controller backup --help'],
    [['controller', 'restore', 'a', 'b'], '"b" is too much', 'warren controller restore --help'],
    [['completion'], 'name the shell', 'warren completion --help'],
    [['completion', 'tcsh'], 'for bash, zsh, fish', 'warren completion --help'],
  ])('%j', async (argv, message, advice) => {
    const { code, out, error } = await run(argv);
    expect([code, out]).toEqual([2, '']);
    expect(error).toContain(message);
    expect(error).toContain(`see ${advice}`);
  });

  it('does not repeat what may be a secret', async () => {
    const { error } = await run(['tokens', 'revoke', 'pasted-secret-pasted-secret']);
    expect(error).toContain('argument 1');
    expect(error).not.toContain('pasted-secret');
  });
});

describe('help', () => {
  const commands = ['keys', 'nodes', 'tokens', 'audit', 'completion'].map((name) => [name]);
  const subcommands = [
    ...['create', 'list', 'revoke'].flatMap((name) => [
      ['keys', name],
      ['tokens', name],
    ]),
    ...['list', 'show', 'approve', 'rename', 'expire', 'remove', 'tag', 'disable', 'enable', 'address'].map((name) => [
      'nodes',
      name,
    ]),
    ...(controllerCommand.subcommands ?? []).map(({ name }) => ['controller', name]),
  ];

  it.each([...commands, ...subcommands])('is there for warren %s %s, and fits a terminal', async (...words) => {
    const path = words.filter((word) => word !== undefined);
    const byOption = await run([...path, '--help']);
    expect(byOption).toMatchObject({ code: 0, error: '' });
    expect(byOption.out).toContain(`usage: warren ${path.join(' ')}`);
    expect(await run(['help', ...path])).toEqual(byOption);
    for (const line of byOption.out.split('\n')) expect(line.length, line).toBeLessThanOrEqual(88);
  });

  it('of a group lists what is in it', async () => {
    const { out } = await run(['nodes', '--help']);
    for (const name of ['list', 'show', 'approve', 'address'])
      expect(out).toMatch(new RegExp(`^ {2}${name} +[A-Z]`, 'm'));
  });
});

describe('times', () => {
  it.each([
    ['90s', 90],
    ['30min', 1800],
    ['30m', 1800],
    ['24h', 86_400],
    ['1d12h', 129_600],
    ['2w', 1_209_600],
    ['', null],
    ['h', null],
    ['24', null],
    ['-1h', null],
    ['1 h', null],
    ['1e3s', null],
  ])('%j is %s seconds', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });

  it('may be never, or not given', () => {
    expect(durationOption('expires', 'never')).toBe(null);
    expect(durationOption('expires', undefined)).toBe(undefined);
    expect(() => durationOption('expires', '0s')).toThrow('--expires wants a time');
  });

  it('are told from now', () => {
    const now = Date.UTC(2026, 0, 1);
    expect(relative(new Date(now - 65_000).toISOString(), now, '-')).toBe('1 min 5 s ago');
    expect(relative(new Date(now + 86_400_000).toISOString(), now, '-')).toBe('in 1 d');
    expect(relative(new Date(now + 86_399_001).toISOString(), now, '-')).toBe('in 1 d');
    expect(relative(new Date(now + 59_001).toISOString(), now, '-')).toBe('in 59 s');
    expect(relative(null, now, 'never')).toBe('never');
  });
});
