// The OpenAPI 3.1 document of the REST API, made of the route table and its schemas: what is served and what is in
// docs/openapi.json is the same. Schemas that have a name here become components, the others stand where they are used.

import { z } from 'zod';
import * as api from '../../protocol/admin-api.ts';
import { ADMIN_PREFIX } from '../../protocol/paths.ts';
import type { Access, Route } from './route.ts';

type Json = Record<string, unknown>;

const COMPONENTS = {
  ApiError: api.apiErrorSchema,
  AuditPage: api.auditPageSchema,
  AuditRecord: api.auditViewSchema,
  BackupLine: api.backupLineSchema,
  BackupRequest: api.backupRequestSchema,
  Controller: api.controllerViewSchema,
  ControllerChange: api.controllerChangeSchema,
  Key: api.keyViewSchema,
  KeyCreate: api.keyCreateSchema,
  KeyCreated: api.keyCreatedSchema,
  Node: api.nodeViewSchema,
  NodeChange: api.nodeChangeSchema,
  Token: api.tokenViewSchema,
  TokenCreate: api.tokenCreateSchema,
  TokenCreated: api.tokenCreatedSchema,
} as const;

/** Of the API, not of the software: the document changes only with it. */
const API_VERSION = '1';

export function openApiDocument(routes: readonly Route[]): Json {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(COMPONENTS)) registry.add(schema, { id });
  return {
    openapi: '3.1.0',
    info: {
      title: 'Warren controller',
      version: API_VERSION,
      description: 'Administration of a Warren network. The admin socket of the controller asks for no token.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: ADMIN_PREFIX }],
    security: [{ token: [] }],
    paths: pathsOf(routes, registry),
    components: {
      schemas: componentsOf(registry),
      securitySchemes: { token: { type: 'http', scheme: 'bearer', description: 'warren tokens create' } },
    },
  };
}

function pathsOf(routes: readonly Route[], registry: Registry): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = operationOf(route, registry);
  }
  return paths;
}

function operationOf(route: Route, registry: Registry): Json {
  const parameters = [...pathParameters(route), ...queryParameters(route)];
  return {
    operationId: route.operation,
    summary: route.summary,
    description: descriptionOf(route.access, route),
    ...(route.access === 'public' ? { security: [] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.request === null
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: use(route.request, registry) } } } }),
    responses: {
      [String(route.status)]: {
        description: route.lines ? 'One JSON object a line' : 'Done',
        content: {
          [route.lines ? 'application/x-ndjson' : 'application/json']: { schema: use(route.response, registry) },
        },
      },
      default: {
        description: 'Refused',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/ApiError' } } },
      },
    },
  };
}

function descriptionOf(access: Access, route: Route): string {
  const socket = route.doors.includes('tcp') ? '' : ' On the admin socket alone.';
  if (access === 'public') return `Needs no token.${socket}`;
  return `Needs ${access === 'any' ? 'any token' : `the scope \`${access}\``}.${socket}`;
}

function pathParameters(route: Route): Json[] {
  return [...route.path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
}

function queryParameters(route: Route): Json[] {
  if (route.query === null) return [];
  const { properties } = inline(route.query);
  return Object.entries(properties as Record<string, Json>).map(([name, schema]) => ({ name, in: 'query', schema }));
}

type Registry = z.core.$ZodRegistry<{ id: string }>;

/** A reference to the component, or the schema itself. */
function use(schema: z.ZodType, registry: Registry): Json {
  const id = registry.get(schema)?.id;
  if (id !== undefined) return { $ref: `#/components/schemas/${id}` };
  if (schema instanceof z.ZodArray) return { type: 'array', items: use(schema.element as z.ZodType, registry) };
  return inline(schema);
}

function componentsOf(registry: Registry): Json {
  const { schemas } = z.toJSONSchema(registry, { ...OPTIONS, uri: (id) => `#/components/schemas/${id}` });
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, withoutMeta(schema)]));
}

function inline(schema: z.ZodType): Json {
  return withoutMeta(z.toJSONSchema(schema, OPTIONS));
}

/** `input`: what travels is text and numbers; what our types make of them is ours. */
const OPTIONS = {
  io: 'input',
  target: 'draft-2020-12',
  override: ({ jsonSchema }: { jsonSchema: Json }) => {
    // The format says it; zod's pattern for it is 200 characters of leap years.
    if (jsonSchema['format'] === 'date-time') delete jsonSchema['pattern'];
  },
} as const;

function withoutMeta(schema: object): Json {
  const { $schema: _schema, $id: _id, ...rest } = schema as Json;
  return rest;
}
