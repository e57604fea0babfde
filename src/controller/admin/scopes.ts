// What a requester may do. `admin` is every scope; the admin socket, whose scopes are null, needs none: whoever may open it
// is the administrator.

import type { Scope } from '../../protocol/admin-api.ts';

export function hasScope(scopes: readonly Scope[] | null, scope: Scope): boolean {
  return scopes === null || scopes.includes(scope) || scopes.includes('admin');
}
