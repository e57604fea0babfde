// A conversation recorded with version 1 of the control protocol (fixtures/conversation-v1.jsonl, both directions, as it was on
// the wire; only the secret was replaced). Whatever comes later, nodes and controllers of that version are out there: today's
// schemas read every line of it, and still do when a newer peer has added fields that they do not know.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { controllerMessageSchema, nodeMessageSchema } from '../../../src/protocol/control.ts';
import { PROTOCOL_VERSION_MIN } from '../../../src/protocol/version-log.ts';

interface Line {
  readonly from: 'node' | 'controller';
  readonly message: Readonly<Record<string, unknown>> & { readonly type: string };
}

const LINES = readFileSync(new URL('./fixtures/conversation-v1.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Line);

const schemaOf = (from: Line['from']) => (from === 'node' ? nodeMessageSchema : controllerMessageSchema);

/** A field of every kind in every object, as a later version might add them. */
function withUnknownFields(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withUnknownFields);
  if (typeof value !== 'object' || value === null) return value;
  const known = Object.entries(value).map(([name, inner]) => [name, withUnknownFields(inner)] as const);
  return { fromTheFuture: { deep: [1, 'two', null] }, another: 'field', ...Object.fromEntries(known) };
}

describe('a conversation of version 1', () => {
  test('has every message and every operation of that version', () => {
    const types = (from: Line['from']) =>
      new Set(LINES.filter((line) => line.from === from).map((l) => l.message.type));
    expect([...types('node')].sort()).toEqual(['ack', 'candidates', 'goodbye', 'punch', 'register', 'rotateKey']);
    expect([...types('controller')].sort()).toEqual(
      ['delta', 'error', 'keyRotated', 'pending', 'punch', 'snapshot', 'welcome'].sort(),
    );
    const ops = LINES.flatMap(({ message }) => (message['ops'] ?? []) as { op: string }[]).map(({ op }) => op);
    expect([...new Set(ops)].sort()).toEqual(['candidates', 'presence', 'put', 'remove']);
  });

  test.each(LINES.map((line, i) => [i + 1, line.from, line.message.type, line] as const))(
    'line %i, %s: %s is read as it was meant, also with fields that nobody knows yet',
    (_number, _from, _type, { from, message }) => {
      const plain = schemaOf(from).safeParse(message);
      expect(plain.error).toBeUndefined();
      // Nothing that version 1 said is lost on today's reader.
      expect(plain.data).toMatchObject(message);
      expect(schemaOf(from).parse(withUnknownFields(message))).toEqual(plain.data);
    },
  );

  test('what version 1 may leave out has a default', () => {
    for (const { from, message } of LINES) {
      const { ack: _ack, retryAfterMs: _retry, ...shorter } = message;
      expect(schemaOf(from).safeParse(shorter).success).toBe(true);
    }
  });

  test('that version is still served', () => {
    expect(PROTOCOL_VERSION_MIN).toBe(1);
  });
});
