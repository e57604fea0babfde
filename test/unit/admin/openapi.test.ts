// The OpenAPI document: the served one, the one in docs/ and the route table are the same, it is well formed, and its schemas take
// what ours take. `npm run openapi` writes docs/openapi.json.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openApi, ROUTES } from '../../../src/controller/admin/routes.ts';
import { AdminWorld, ask, openDoors } from './admin-fixture.ts';

type Json = Record<string, unknown>;
const METHODS = ['get', 'post', 'patch', 'delete'];
const document = openApi() as Json & { paths: Record<string, Record<string, Json>>; components: { schemas: Json } };
const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
);

/** Every object in the document with the way to it. */
function* objects(value: unknown, way = '#'): Generator<[string, Json]> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield [way, value as Json];
  for (const [key, inner] of Object.entries(value)) yield* objects(inner, `${way}/${key}`);
}

function resolve(reference: string): unknown {
  let at: unknown = document;
  for (const part of reference.replace(/^#\//, '').split('/')) at = (at as Json | undefined)?.[part];
  return at;
}

describe('the OpenAPI document', () => {
  it('is the one in docs/openapi.json (npm run openapi writes it)', () => {
    const file = readFileSync(new URL('../../../docs/openapi.json', import.meta.url), 'utf8');
    expect(file).toBe(`${JSON.stringify(document, null, 2)}\n`);
  });

  it('is served to everyone', async () => {
    const { port, socket } = await openDoors(new AdminWorld());
    for (const door of [port, socket]) {
      expect((await ask(door, { path: '/api/v1/openapi.json' })).json).toEqual(document);
    }
  });

  it('has every route once, and nothing else', () => {
    const described = operations.map(({ path, method }) => `${method.toUpperCase()} ${path}`);
    const routes = ROUTES.map(({ path, method }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
    expect(described.toSorted()).toEqual(routes.toSorted());
    expect(new Set(operations.map(({ operation }) => operation['operationId'])).size).toBe(ROUTES.length);
  });

  it('is of version 3.1 and has what that asks for', () => {
    expect(document['openapi']).toBe('3.1.0');
    expect(document['info']).toMatchObject({ title: expect.any(String), version: expect.any(String) });
    for (const { path, method, operation } of operations) {
      expect(path).toMatch(/^\/[a-z]/);
      expect(METHODS).toContain(method);
      expect(operation['summary']).toMatch(/^[A-Z]/);
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      const parameters = (operation['parameters'] ?? []) as Json[];
      expect(parameters.filter((parameter) => parameter['in'] === 'path').map(({ name }) => name)).toEqual(named);
      for (const parameter of parameters) {
        expect(parameter['in'] === 'path').toBe(parameter['required'] === true);
        expect(parameter['schema']).toMatchObject({ type: expect.any(String) });
      }
      const responses = operation['responses'] as Record<string, Json>;
      expect(Object.keys(responses)).toEqual([expect.stringMatching(/^20[01]$/), 'default']);
      for (const response of Object.values(responses)) {
        expect(response['description']).toEqual(expect.any(String));
        for (const { schema } of Object.values(response['content'] as Record<string, Json>)) {
          expect(schema).toEqual(expect.any(Object));
        }
      }
    }
  });

  it('refers only to what is there, and uses every component', () => {
    const used = new Set<string>();
    for (const [way, object] of objects(document)) {
      const reference = object['$ref'];
      if (typeof reference !== 'string') continue;
      expect(resolve(reference), `${way} → ${reference}`).toEqual(expect.any(Object));
      used.add(reference.replace('#/components/schemas/', ''));
    }
    expect(Object.keys(document.components.schemas).filter((name) => !used.has(name))).toEqual([]);
  });

  it('has schemas of JSON Schema 2020-12 that say what they are', () => {
    const types = ['object', 'array', 'string', 'integer', 'number', 'boolean', 'null'];
    for (const [way, schema] of objects(document.components.schemas)) {
      const { type, required, properties } = schema;
      if (typeof type === 'string') expect(types, way).toContain(type);
      if (Array.isArray(required)) {
        for (const name of required) expect(Object.keys(properties as Json), way).toContain(name);
      }
      expect(schema, way).not.toHaveProperty('nullable');
    }
  });
});
