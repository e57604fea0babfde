// What machines and controllers call themselves ends up on people's terminals: nothing of it may act there.

import { describe, expect, test } from 'vitest';
import { printable } from '../../../src/base/printable.ts';
import { controllerMessageSchema, nodeMessageSchema } from '../../../src/protocol/control.ts';

const HOSTILE = [
  ['an escape sequence', 'web\u001b[2J\u001b]0;owned\u0007'],
  ['a control sequence of one character', 'web\u009b31m'],
  ['another line', 'web\r\nroot  100.64.0.1'],
  ['a delete', 'web\u007f\u0008'],
  ['the other direction', 'web\u202egpj.exe\u2066'],
  ['a line of Unicode', 'web\u2028root\u2029'],
  ['what cannot be seen', 'we\u200bb\ufeff'],
  ['half a character', 'web\ud800'],
] as const;
const ACTS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

describe.each(HOSTILE)('%s', (_what, text) => {
  test('in what a node says of itself is a blank by the time that it is read', () => {
    const register = { type: 'register', version: 1, software: text, os: text, hostname: text, authKey: null };
    const message = nodeMessageSchema.parse({ ...register, resume: null, candidates: [], listenPort: 0 });
    if (message.type !== 'register') throw new Error(message.type);
    for (const read of [message.software, message.os, message.hostname]) {
      expect(read).not.toMatch(ACTS);
      expect(read).toContain('we');
    }
  });

  test('in what a controller tells people too', () => {
    const error = controllerMessageSchema.parse({ type: 'error', code: text, message: text, help: text });
    const pending = controllerMessageSchema.parse({ type: 'pending', message: text, help: text });
    const snapshot = controllerMessageSchema.parse({
      type: 'snapshot',
      epoch: 'e'.repeat(16),
      seq: 1,
      network: { name: text, prefix4: '100.64.0.0/10', prefix6: 'fd00:77::/64' },
      nodes: [],
    });
    for (const message of [error, pending, snapshot]) {
      for (const value of Object.values({ ...message, ...('network' in message ? message.network : {}) })) {
        if (typeof value === 'string') expect(value).not.toMatch(ACTS);
      }
    }
  });
});

test('what people write in their languages stays as it is', () => {
  for (const text of ['Büro-Rechner', '東京', 'Ωμέγα 1', 'مكتب', '🙂']) expect(printable(text)).toBe(text);
});
