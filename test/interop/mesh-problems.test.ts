// What is in the way, each with its own message, from real processes: a daemon that does not run or may not be asked, links and
// keys that let nobody in, address ranges that are used up or in use, a controller that is away or another one.

import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Problem } from '../../src/protocol/local-api.ts';
import { WARREN } from './lib/engines.ts';
import { MeshLab, type MeshMachine } from './lib/mesh.ts';
import { CAN_RUN } from './lib/subject.ts';

const COMPLETE = { message: expect.any(String), help: expect.any(String) };

describe.skipIf(!CAN_RUN)('what is in the way', () => {
  let mesh: MeshLab;
  let ada: MeshMachine;
  let bob: MeshMachine;

  beforeAll(async () => {
    mesh = await MeshLab.open('meshprob', ['ada', 'bob']);
    ada = mesh.machine('ada');
    bob = mesh.machine('bob');
  });
  afterAll(() => mesh?.close());

  const joining = (link: string, ...more: readonly string[]): Promise<Problem> =>
    ada.problem('up', '--join', link, '--timeout', '20', ...more);
  /** For people: what, why, what to do, on standard error. */
  const told = async (...command: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await ada.host.run([process.execPath, WARREN, ...command]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    return stderr;
  };

  describe('the daemon', () => {
    it('does not run', async () => {
      for (const command of ['status', 'up', 'down', 'logout', 'ip', 'rotate-key']) {
        const text = await told(command, '--socket', '/nowhere/warren.sock');
        expect(text).toMatch(
          /^(?:waiting for the daemon to start\n)?warren [a-z-]+: the daemon is not running\n {2}why: .*\/nowhere\/warren.sock\n {2}do: .*warren daemon/,
        );
      }
    });

    it('may not be asked by everybody', async () => {
      // Root may always; setpriv becomes somebody else, who may read this repository wherever it is. The directory is
      // open, the socket is not.
      const { code, stderr } = await ada.host.run([
        ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
        ...['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search'],
        ...[process.execPath, WARREN, 'status', '--socket', openTo(ada)],
      ]);
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(
          /no permission to speak to the daemon\n {2}why: .*group warren.*\n {2}do: .*usermod/,
        ),
      });
    });

    it('is there already: on the same state, or on the same socket', async () => {
      const elsewhere = join(ada.state, '..', 'elsewhere');
      expect(await told('daemon', '--state', ada.state, '--socket', `${elsewhere}.sock`)).toMatch(
        /cannot use the state directory .*\n {2}why: another daemon uses it\n {2}do: /,
      );
      expect(await told('daemon', '--state', elsewhere, '--socket', ada.socket)).toMatch(
        /cannot make the socket .*\n {2}why: another daemon answers on it\n {2}do: /,
      );
    });

    it('cannot write its state', async () => {
      expect(await told('daemon', '--state', '/proc/nowhere', '--socket', join(ada.state, 'x.sock'))).toMatch(
        /cannot use the state directory \/proc\/nowhere\n {2}why: .*\n {2}do: /,
      );
    });

    it('has a port that another program has', async () => {
      const { listenPort } = JSON.parse(await bob.must('up', '--join', await mesh.link(), '--json')).self;
      const { code, stderr } = await bob.host.run([
        ...[process.execPath, WARREN, 'daemon', '--port', String(listenPort)],
        ...['--state', join(bob.state, '..', 'second'), '--socket', join(bob.state, '..', 'second.sock')],
      ]);
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(/cannot use UDP port \d+\n {2}why: another program has it\n {2}do: /),
      });
    });

    it('has no CAP_NET_ADMIN', async () => {
      const { code, stderr } = await ada.host.run([
        ...['setpriv', '--bounding-set=-net_admin', process.execPath, WARREN, 'daemon'],
        ...['--state', join(ada.state, '..', 'third'), '--socket', join(ada.state, '..', 'third.sock')],
      ]);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/why: .*CAP_NET_ADMIN.*\n {2}do: /) });
    });
  });

  describe('the join link', () => {
    it('is none', async () => {
      for (const text of ['foo', 'warren://', (await mesh.link()).slice(0, 60)]) {
        const { code, stdout, stderr } = await ada.warren('up', '--join', text);
        expect({ text, code, stdout }).toEqual({ text, code: 2, stdout: '' });
        expect(stderr).toContain('this is not a join link');
      }
      expect(await ada.problem('up', '--join-file', '/nowhere')).toMatchObject({ code: 'badJoinLink', ...COMPLETE });
      expect(await ada.problem('up')).toMatchObject({ code: 'notConfigured', ...COMPLETE });
    });

    it('is wrong, used, revoked or expired', async () => {
      const good = await mesh.link();
      const wrong = good.replace(/auth=[^&]+/, `auth=${'x'.repeat(32)}`);
      expect(await joining(wrong)).toMatchObject({ code: 'authKeyInvalid', ...COMPLETE });
      const once = await mesh.link('--pre-approved');
      await bob.must('logout');
      await bob.must('up', '--join', once);
      expect(await joining(once)).toMatchObject({ code: 'authKeyUsed', ...COMPLETE });
      const revoked = await mesh.link('--description', 'to be revoked');
      const keys = JSON.parse(await mesh.mustAdminister('keys', 'list', '--json')) as {
        id: string;
        description: string;
      }[];
      const id = keys.find(({ description }) => description === 'to be revoked')?.id ?? '';
      await mesh.mustAdminister('keys', 'revoke', id);
      expect(await joining(revoked)).toMatchObject({ code: 'authKeyRevoked', ...COMPLETE });
      const short = await mesh.link('--expires', '1s');
      const expired = Date.now() + 1_100;
      await ada.untilStatus('the key has expired', 5_000, () => Date.now() > expired);
      expect(await joining(short)).toMatchObject({ code: 'authKeyExpired', ...COMPLETE });
      expect((await ada.status()).state).toBe('failed');
    });

    it('is for another controller than the one that answers', async () => {
      const other = (await mesh.link()).replace(/key=[^&]+/, `key=${'A'.repeat(42)}E`);
      expect(await joining(other)).toMatchObject({
        code: 'controllerKeyMismatch',
        why: expect.any(String),
        ...COMPLETE,
      });
    });

    it('leads to where no controller is', async () => {
      const nowhere = (await mesh.link()).replace('10.9.0.1:7370', '10.9.0.1:7371');
      const problem = await ada.problem('up', '--join', nowhere, '--timeout', '1');
      expect(problem).toMatchObject({
        code: 'controllerUnreachable',
        why: expect.stringContaining('refuses'),
        ...COMPLETE,
      });
    });
  });

  it('there is no IPv6: it is a member over IPv4', async () => {
    await ada.host.must(['sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1']);
    await ada.must('up', '--join', await mesh.link(), '--hostname', 'ada');
    await ada.untilStatus('it says so', 5_000, ({ warnings }) =>
      warnings.some(({ code }) => code === 'ipv6Unavailable'),
    );
    await ada.reaches((await bob.addresses())[0]);
    await ada.host.must(['sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=0']);
    await ada.must('down');
    await ada.must('up');
    await ada.reaches((await bob.addresses())[1]);
    expect((await ada.status()).warnings).toEqual([]);
    await ada.must('logout');
  });

  it('the address range is in use here: nothing is changed, and it is taken when it is free', async () => {
    const { network } = await bob.status();
    const inside = `${network?.prefix4.split('/')[0]?.replace(/0$/, '9')}/24`;
    await ada.host.must(['ip', 'link', 'add', 'lan0', 'type', 'bridge']);
    await ada.host.must(['ip', 'link', 'set', 'lan0', 'up']);
    await ada.host.addAddress('lan0', inside);
    const problem = await joining(await mesh.link('--pre-approved'), '--hostname', 'ada');
    expect(problem).toMatchObject({
      code: 'prefixCollision',
      why: expect.stringContaining(`lan0 has the address ${inside}`),
      help: expect.stringContaining('--network'),
    });
    expect(await ada.host.must(['ip', '-4', 'address', 'show', 'dev', 'warren0'])).toBe('');
    await ada.host.must(['ip', 'link', 'del', 'lan0']);
    await ada.untilStatus('the range is taken', 5_000, ({ state }) => state === 'up');
    await ada.reaches((await bob.addresses())[0]);
    await ada.must('logout');
  });

  it('approval is missing', async () => {
    await mesh.stopController('SIGTERM');
    await mesh.startController('--require-approval');
    const link = await mesh.link();
    const problem = await ada.problem('up', '--join', link, '--hostname', 'ada', '--timeout', '2');
    expect(problem).toMatchObject({ code: 'timeout', why: expect.stringMatching(/approv/), ...COMPLETE });
    expect((await ada.status()).state).toBe('waiting');
    await mesh.mustAdminister('nodes', 'approve', 'ada');
    await ada.untilStatus('it is let in', 5_000, ({ state }) => state === 'up');
  });
});

/** The way to the socket is open to everybody; the socket itself stays as the daemon made it. */
function openTo(machine: MeshMachine): string {
  chmodSync(join(machine.state, '..'), 0o711);
  return machine.socket;
}
