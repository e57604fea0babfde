// Starting in the background: the parent returns when the child is ready, and has the child's own words when it is not.

import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { reportStart, type StartReport, startInBackground } from '../../src/daemon/background.ts';
import { temporaryDirectory, until } from './daemon-fixtures.ts';

interface Run {
  readonly report: StartReport;
}

/** Runs `script` as the child; `pid` of a ready report is ended with the test. */
async function start(script: string, env: NodeJS.ProcessEnv = {}, readyLimitMs = 20_000): Promise<Run> {
  const report = await startInBackground({
    file: process.execPath,
    args: ['-e', script],
    env: { ...process.env, ...env },
    logs: false,
    readyLimitMs,
  });
  if (report.ready) onTestFinished(() => endProcess(report.pid));
  return { report };
}

function alive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

async function endProcess(pid: number): Promise<void> {
  if (alive(pid)) process.kill(pid, 'SIGKILL');
  await until(() => !alive(pid));
}

const READY =
  "require('fs').writeSync(3, JSON.stringify({ready: true, pid: process.pid, interface: 'wgx', socket: '/s'}) + '\\n');";

it('returns when the child is ready, and the child goes on in a session of its own', async () => {
  const { report } = await start(`${READY} setInterval(() => {}, 1000)`);
  expect(report).toMatchObject({ ready: true, interface: 'wgx', socket: '/s' });
  if (!report.ready) return;
  expect(alive(report.pid)).toBe(true);
  // Field 6 of /proc/PID/stat is the session.
  const session = readFileSync(`/proc/${report.pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[3];
  expect(Number(session)).toBe(report.pid);
});

it('passes on what the child says of its failure', async () => {
  const failure = { what: 'w', why: 'y', help: 'h' };
  const { report } = await start(
    `require('fs').writeSync(3, ${JSON.stringify(`${JSON.stringify({ ready: false, failure })}\n`)}); process.exit(1)`,
  );
  expect(report).toEqual({ ready: false, failure });
});

it('says how a child ended that says nothing', async () => {
  expect((await start('process.exit(7)')).report).toMatchObject({
    ready: false,
    failure: { why: expect.stringContaining('exit code 7') },
  });
  expect((await start("process.kill(process.pid, 'SIGSEGV')")).report).toMatchObject({
    ready: false,
    failure: { why: expect.stringContaining('SIGSEGV') },
  });
});

it('ends a child that is not ready in time', async () => {
  const file = join(temporaryDirectory(), 'pid');
  const { report } = await start(
    `require('fs').writeFileSync(${JSON.stringify(file)}, String(process.pid)); setInterval(() => {}, 1000)`,
    {},
    4000,
  );
  expect(report).toMatchObject({ ready: false, failure: { why: expect.stringContaining('not ready in time') } });
  const pid = Number(readFileSync(file, 'latin1'));
  await until(() => !alive(pid));
});

it('says what is wrong when there is nothing to start', async () => {
  const report = await startInBackground({ file: '/nonexistent/node', args: [], env: {}, logs: false });
  expect(report).toMatchObject({ ready: false, failure: { why: expect.stringContaining('ENOENT') } });
});

it('passes the descriptors of WG_TUN_FD and WG_UAPI_FD on under their new numbers', async () => {
  const directory = temporaryDirectory();
  const open = (name: string): string => {
    writeFileSync(join(directory, name), name);
    return String(openSync(join(directory, name), 'r'));
  };
  const { report } = await start(
    `const {readFileSync} = require('fs');
     const read = (name) => readFileSync(Number(process.env[name]), 'latin1');
     require('fs').writeSync(3, JSON.stringify({ready: false, failure: {what: read('WG_TUN_FD'), why: read('WG_UAPI_FD'),
       help: process.env.WG_PROCESS_FOREGROUND}}) + '\\n');`,
    { WG_TUN_FD: open('tun'), WG_UAPI_FD: open('uapi') },
  );
  expect(report).toEqual({ ready: false, failure: { what: 'tun', why: 'uapi', help: '1' } });
});

it('tells nobody when nobody waits', () => {
  const env: NodeJS.ProcessEnv = {};
  reportStart(env, { ready: true, pid: 1, interface: 'wgx', socket: '/s' });
  expect(env).toEqual({});
});
