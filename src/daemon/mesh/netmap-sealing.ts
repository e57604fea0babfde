// How a netmap is sealed for the disk (src/mesh/sealed-netmap.ts), with this machine's clock, entropy and key. When it is written
// is netmap-store.ts.

import { getRandomValues } from 'node:crypto';
import type { WallTime } from '../../base/instant.ts';
import { nodeProvider } from '../../crypto/node.ts';
import { openNetmap, sealNetmap } from '../../mesh/sealed-netmap.ts';
import type { NetmapSealing } from './netmap-store.ts';
import { keyBytes } from './node-file.ts';

export const netmapSealing: NetmapSealing = {
  seal: (file, netmap) => {
    const privateKey = keyBytes(file.privateKey);
    try {
      return sealNetmap(netmap, {
        crypto: nodeProvider,
        privateKey,
        now: Date.now() as WallTime,
        random: (out) => {
          getRandomValues(out);
        },
      });
    } finally {
      privateKey.fill(0);
    }
  },
  unseal: (file, sealed) => {
    const privateKey = keyBytes(file.privateKey);
    const opened = openNetmap(sealed, { crypto: nodeProvider, privateKey, now: Date.now() as WallTime });
    privateKey.fill(0);
    return opened.ok ? { netmap: opened.netmap } : { reason: opened.reason };
  },
};
