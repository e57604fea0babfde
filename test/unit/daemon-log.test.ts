// The daemon's log: lines that a person and a collector can both read, and that no value can forge.

import { describe, expect, it } from 'vitest';
import { createLog, parseLogLevel } from '../../src/daemon/log.ts';

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
