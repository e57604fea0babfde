// The stage runner behind `npm test`, with small stages: a failure is reported and does not stop the rest, what must not
// overlap does not, a hang is ended together with everything it started, and the last stage prints last.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../lib/files.mjs';
import { scratch } from './scratch.mjs';

/** Runs `stages` (JSON, `commands` as arrays) in a process of its own, in a directory that `{dir}` stands for. */
function runStages(stages) {
  const directory = scratch('stages');
  const whole = stages.map((stage) => ({ title: stage.name, limitSeconds: 30, ...stage }));
  writeFileSync(join(directory, 'stages.json'), JSON.stringify(whole).replaceAll('{dir}', directory));
  const program = `
    import { readFileSync } from 'node:fs';
    import { runStages } from ${JSON.stringify(join(root, 'scripts/lib/stage-runner.mjs'))};
    const stages = JSON.parse(readFileSync(${JSON.stringify(join(directory, 'stages.json'))}, 'utf8'));
    for (const stage of stages) { const { run } = stage; stage.commands = () => run.map((text) => ['sh', '-c', text]); }
    process.exitCode = await runStages(stages, ${JSON.stringify(directory)});
  `;
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  return { code: status, stdout, directory };
}

test('all pass: exit code 0, and a table that says so', () => {
  const { code, stdout } = runStages([
    { name: 'one', run: ['true'] },
    { name: 'two', run: ['echo 17 checks'] },
  ]);
  expect(stdout).toContain('17 checks');
  expect(stdout).toMatch(/summary[\s\S]*one .* ok\n[\s\S]*two .* ok\n\ntest: all passed/);
  expect(code).toBe(0);
});

test('a failed stage is shown with its output, the others run, and the exit code is 1 though the last stage passes', () => {
  const { code, stdout } = runStages([
    { name: 'bad', run: ['echo what went wrong; exit 3', 'echo never reached'] },
    { name: 'good', run: ['echo fine'] },
    { name: 'end', last: true, alone: true, run: ['echo the very end'] },
  ]);
  expect(stdout).toContain('what went wrong');
  expect(stdout).toContain('FAILED (exit code 3)');
  expect(stdout).not.toContain('never reached');
  expect(stdout).toContain('fine');
  expect(stdout).toContain('so far FAILED: bad');
  expect(stdout.trimEnd().split('\n').at(-1)).toBe('the very end');
  expect(code).toBe(1);
});

test('a last stage that fails gives exit code 1', () => {
  const { code } = runStages([
    { name: 'good', run: ['true'] },
    { name: 'end', last: true, alone: true, run: ['exit 1'] },
  ]);
  expect(code).toBe(1);
});

test('independent commands of a stage all run, and one failure fails it', () => {
  const { code, stdout } = runStages([{ name: 'checks', keepGoing: true, run: ['exit 4', 'echo second ran'] }]);
  expect(stdout).toContain('second ran');
  expect(stdout).toContain('FAILED (exit code 4)');
  expect(code).toBe(1);
});

test('a command that does not exist fails its stage', () => {
  expect(runStages([{ name: 'gone', run: ['/no/such/program'] }])).toMatchObject({ code: 1 });
});

test('a stage waits for those it builds on, and one that must be alone has nobody beside it', () => {
  const mark = (name) => `echo +${name} >> {dir}/order; sleep 0.1; echo -${name} >> {dir}/order`;
  const { code, directory } = runStages([
    { name: 'needs-a', after: ['a'], run: [mark('needs-a')] },
    { name: 'alone', alone: true, run: [mark('alone')] },
    { name: 'a', run: [mark('a')] },
    { name: 'b', run: [mark('b')] },
  ]);
  expect(code).toBe(0);
  const order = readFileSync(join(directory, 'order'), 'utf8').trim().split('\n');
  expect(order.indexOf('+needs-a')).toBeGreaterThan(order.indexOf('-a'));
  expect(order.slice(-2)).toEqual(['+alone', '-alone']);
});

/** A process that has ended may stay as a zombie until whoever inherited it looks. */
function isRunning(pid) {
  try {
    return !/^\d+ \(.*\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

test('a stage that hangs is ended with all that it started', async () => {
  const { code, stdout, directory } = runStages([
    { name: 'hang', limitSeconds: 1, run: ['sleep 600 & echo $! > {dir}/pid; wait'] },
  ]);
  expect(stdout).toContain('FAILED (not done after 1 s)');
  expect(code).toBe(1);
  const pid = readFileSync(join(directory, 'pid'), 'utf8').trim();
  await expect.poll(() => isRunning(pid), { timeout: 5000 }).toBe(false);
});
