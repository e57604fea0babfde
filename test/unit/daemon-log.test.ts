// The daemon's log and its advice: lines that a person and a collector can both read, and what to do about a failed start.

import { describe, expect, it } from 'vitest';
import { createLog, parseLogLevel } from '../../src/daemon/log.ts';
import { explainPlaneFailure, type Machine } from '../../src/daemon/plane-failure.ts';
import { StartError } from '../../src/daemon/start-error.ts';

describe('the log', () => {
  const logged = (level: string | undefined): string[] => {
    const lines: string[] = [];
    const log = createLog(parseLogLevel(level), (line) => lines.push(line));
    log.debug('started', { interface: 'wg0' });
    log.error('refused', { why: 'two words', key: 'a', line: 3, peer: null });
    return lines;
  };

  it('is one line per event', () => {
    expect(logged('debug')).toEqual(['debug started interface=wg0\n', 'error refused why="two words" key=a line=3\n']);
  });

  it.each([
    [undefined, 1],
    ['', 1],
    ['error', 1],
    ['verbose', 2],
    ['debug', 2],
    ['silent', 0],
  ])('tells as much as LOG_LEVEL=%s asks', (level, count) => {
    expect(logged(level)).toHaveLength(count);
  });

  it('lets no value end its line or pass for another field', () => {
    const lines: string[] = [];
    createLog('error', (line) => lines.push(line)).error('x', {
      a: 'b\nerror forged',
      c: 'd e=f',
      g: '"',
      h: '\u001b[31m',
    });
    expect(lines).toEqual(['error x a="b\\nerror forged" c="d e=f" g="\\"" h="\\u001b[31m"\n']);
  });
});

describe('advice', () => {
  const failure = (code: string, machine: Partial<Machine> = {}): StartError => {
    const error = explainPlaneFailure(Object.assign(new Error('open failed'), { code }), 'wg9', {
      exists: () => true,
      read: () => 'CapEff:\t0000000000001000\n',
      ...machine,
    });
    if (!(error instanceof StartError)) throw new Error('no advice');
    return error;
  };

  it('names the missing capability, the missing device, the name that is taken and the missing addon', () => {
    expect(failure('EPERM', { read: () => 'CapEff:\t0000000000000fff\n' }).why).toContain('CAP_NET_ADMIN');
    expect(failure('EPERM').why).toBe('open failed');
    expect(failure('ENOENT', { exists: (path) => path !== '/dev/net/tun' }).why).toContain('/dev/net/tun');
    expect(failure('EBUSY').help).toContain('ip link del wg9');
    expect(failure('EINVAL').why).toContain('not a TUN');
    expect(failure('WARREN_ADDON_MISSING').help).toContain('build:native');
    expect(failure('ENOBUFS').why).toBe('open failed');
  });

  it('does not hide a bug', () => {
    const bug = new TypeError('x is not a function');
    expect(explainPlaneFailure(bug, 'wg9')).toBe(bug);
  });
});
