// What the native half of this installation is, for `warren version`: the one thing that command wants of the daemon.
// Leaves out what a running daemon found and uses: that is in its status.

import { loadAddon } from '../dataplane/native/addon.ts';

/** The cipher's implementation that tunnels get on this machine, or null and why there is none. */
export function describeAddon(): { readonly aead: string | null; readonly fault: string | null } {
  const loading = loadAddon();
  return loading.ok ? { aead: loading.addon.aeadTier(), fault: null } : { aead: null, fault: loading.message };
}
