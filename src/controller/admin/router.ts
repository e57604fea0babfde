// Finds the row of a request: by path first, then by method, so that a wrong method is told from a wrong path. Leaves out
// wildcards and optional parts: no row needs them.

import type { Route } from './route.ts';

export interface Match {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

export type Found =
  | { readonly kind: 'match'; readonly match: Match }
  | { readonly kind: 'noPath' }
  | { readonly kind: 'noMethod'; readonly allowed: readonly string[] }
  | { readonly kind: 'malformed' };

/** `path`: below the prefix, still percent-encoded. HEAD finds what GET does. */
export function findRoute(routes: readonly Route[], method: string, path: string): Found {
  const wanted = method === 'HEAD' ? 'GET' : method;
  const segments = decodeSegments(path);
  if (segments === null) return { kind: 'malformed' };
  const allowed: string[] = [];
  for (const route of routes) {
    const params = matchPath(route.path, segments);
    if (params === null) continue;
    if (route.method === wanted) return { kind: 'match', match: { route, params } };
    allowed.push(route.method);
  }
  return allowed.length === 0 ? { kind: 'noPath' } : { kind: 'noMethod', allowed };
}

function decodeSegments(path: string): string[] | null {
  try {
    return path.split('/').slice(1).map(decodeURIComponent);
  } catch {
    return null;
  }
}

function matchPath(pattern: string, segments: readonly string[]): Record<string, string> | null {
  const parts = pattern.split('/').slice(1);
  if (parts.length !== segments.length) return null;
  const params: Record<string, string> = {};
  for (const [i, part] of parts.entries()) {
    const segment = segments[i] as string;
    if (part.startsWith(':')) {
      if (segment === '') return null;
      params[part.slice(1)] = segment;
    } else if (part !== segment) return null;
  }
  return params;
}
