// Shell completion: the bash script in a real bash, word by word, and that the scripts for all shells have every command and option.

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { keysCommand } from '../../../src/cli/commands/keys.ts';
import { nodesCommand } from '../../../src/cli/commands/nodes.ts';
import { main } from '../../../src/cli/main.ts';
import { temporaryDirectory } from './admin-fixture.ts';

async function scriptFor(shell: string): Promise<string> {
  let out = '';
  const io = {
    env: {},
    argv: [],
    out: (text: string) => {
      out += text;
    },
    error: () => undefined,
    interactive: false,
  };
  expect(await main(['completion', shell], 'warren', io)).toBe(0);
  return out;
}

/** What bash offers behind `line`; its last word is the one that is being typed. */
async function complete(line: string, directory = temporaryDirectory()): Promise<string[]> {
  const words = line.split(' ');
  const script = `${await scriptFor('bash')}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})
COMP_CWORD=${words.length - 1}
_warren
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync('bash', ['--norc', '-c', script], { cwd: directory, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  return stdout.trim().split('\n');
}

describe('completion in bash', () => {
  it('knows the commands', async () => {
    expect(await complete('warren ')).toEqual(expect.arrayContaining(['keys', 'nodes', 'up', 'wg', 'help']));
    expect(await complete('warren ke')).toEqual(['keys']);
  });

  it('knows subcommands, alone and after options', async () => {
    expect(await complete('warren keys c')).toEqual(['create']);
    expect(await complete('warren nodes re')).toEqual(['rename', 'remove']);
    expect(await complete('warren keys --data /x re')).toEqual(['revoke']);
    expect(await complete('warren help nodes ta')).toEqual(['tag']);
  });

  it('knows the options of a subcommand, and not those of another', async () => {
    expect(await complete('warren keys create --re')).toEqual(['--reusable']);
    expect(await complete('warren keys create --json --e')).toEqual(['--ephemeral', '--expires']);
    expect(await complete('warren keys list --re')).toEqual(['']);
    expect(await complete('warren nodes show kiwi --j')).toEqual(['--json']);
  });

  it('gives directories and files where they belong, and nothing for other values', async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'data'));
    writeFileSync(join(directory, 'dump.db'), '');
    expect(await complete('warren keys list --data d', directory)).toEqual(['data']);
    expect(await complete('warren keys list --url x --token-file du', directory)).toEqual(['dump.db']);
    expect(await complete('warren controller backup du', directory)).toEqual(['dump.db']);
    expect(await complete('warren controller --data data restore du', directory)).toEqual(['dump.db']);
    expect(await complete('warren keys create --expires d', directory)).toEqual(['']);
  });
});

describe('completion', () => {
  it.each(['bash', 'zsh', 'fish'])('for %s has every subcommand and option', async (shell) => {
    const script = await scriptFor(shell);
    for (const group of [keysCommand, nodesCommand]) {
      for (const { name, options } of group.subcommands ?? []) {
        expect(script).toContain(name);
        for (const { form } of options) {
          const [word] = /--[a-z][a-z-]*/.exec(form) ?? [];
          expect(script).toContain(shell === 'fish' ? `-l ${word?.slice(2)}` : word);
        }
      }
    }
  });

  it.each(['zsh', 'fish'])('for %s has its quotes in pairs', async (shell) => {
    for (const line of (await scriptFor(shell)).split('\n')) {
      if (line.startsWith('#')) continue;
      expect(line.replaceAll(/'\\''|\\'/g, '').split("'").length % 2, line).toBe(1);
    }
  });
});
