// The route table of the REST API: every path, who may, what goes in and what comes out. The OpenAPI document is made of it,
// once, and is itself one of its rows.

import { openApiDocument } from './openapi.ts';
import type { Route } from './route.ts';
import { CONTROLLER_ROUTES, openApiRoute } from './routes-controller.ts';
import { KEY_ROUTES, TOKEN_ROUTES } from './routes-keys.ts';
import { NODE_ROUTES } from './routes-nodes.ts';

let made: Record<string, unknown> | null = null;

/** The document that is served and that docs/openapi.json holds. */
export function openApi(): Record<string, unknown> {
  made ??= openApiDocument(ROUTES);
  return made;
}

export const ROUTES: readonly Route[] = [
  ...CONTROLLER_ROUTES,
  ...KEY_ROUTES,
  ...NODE_ROUTES,
  ...TOKEN_ROUTES,
  openApiRoute(openApi),
];
