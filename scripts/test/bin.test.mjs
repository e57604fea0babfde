// bin/warren and bin/warren-wg as people start them: from any directory, through symlinks, with plain node; and what
// they say when the build or the right Node is missing. The command line behind them is a small stand-in here.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root } from '../lib/files.mjs';
import { scratch } from './scratch.mjs';

const STAND_IN = `
export async function main(argv, program) {
  process.stdout.write(JSON.stringify({ argv, program }) + '\\n');
  if (argv[0] === 'flood') for (let i = 0; i < 100; i++) process.stdout.write('x'.repeat(65536));
  if (argv[0] === 'throw') throw new Error('it broke');
  return argv[0] === 'fail' ? 3 : 0;
}
`;

function install(files = { 'dist/cli/main.js': STAND_IN }) {
  const directory = scratch('bin', { 'package.json': '{ "type": "module" }', ...files });
  cpSync(join(root, 'bin'), join(directory, 'bin'), { recursive: true });
  return directory;
}

function start(file, args = [], options = {}) {
  const { status, stdout, stderr } = spawnSync(file, args, { cwd: '/', encoding: 'utf8', ...options });
  return { code: status, stdout, stderr };
}

describe.each(['warren', 'warren-wg'])('%s', (program) => {
  test('passes its arguments and its name on, and gives the exit code back', () => {
    const file = join(install(), 'bin', program);
    const { code, stdout } = start(file, ['fail', '--json']);
    expect(JSON.parse(stdout)).toEqual({ argv: ['fail', '--json'], program });
    expect(code).toBe(3);
  });

  test('works through a chain of symlinks in other directories', () => {
    const directory = install();
    mkdirSync(join(directory, 'else', 'where'), { recursive: true });
    symlinkSync(join(directory, 'bin', program), join(directory, 'else', 'first'));
    symlinkSync('../first', join(directory, 'else', 'where', 'second'));
    expect(start(join(directory, 'else', 'where', 'second'))).toMatchObject({ code: 0, stderr: '' });
  });

  test('not built yet: says how to build, and ends with 127', () => {
    const directory = install({});
    const { code, stderr } = start(join(directory, 'bin', program));
    expect(stderr).toContain(`${program}: not built yet: ${directory}/dist/cli/main.js does not exist`);
    expect(stderr).toContain(`node ${directory}/scripts/setup.mjs`);
    expect(code).toBe(127);
  });

  test('a Node that is too old: says so and what is needed, and ends with 126', () => {
    const directory = install({
      'old.cjs': "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.20.4' } });",
      'dist/cli/main.js': STAND_IN,
    });
    const { code, stdout, stderr } = start(process.execPath, [
      '-r',
      join(directory, 'old.cjs'),
      join(directory, 'bin', program),
    ]);
    expect(stderr).toContain('Node 18.20.4 is too old: 20.19 or newer is needed');
    expect(stdout).toBe('');
    expect(code).toBe(126);
  });

  test('an error inside is printed with its stack and ends with 1', () => {
    const { code, stderr } = start(join(install(), 'bin', program), ['throw']);
    expect(stderr).toMatch(new RegExp(`^${program}: internal error: Error: it broke\n.*main\\.js`));
    expect(code).toBe(1);
  });

  test('a reader that goes away is no error', () => {
    const file = join(install(), 'bin', program);
    const { stdout, stderr } = start('sh', ['-c', `"${file}" flood | head -n 1; exit 0`]);
    expect(JSON.parse(stdout)).toMatchObject({ program });
    expect(stderr).toBe('');
  });
});
