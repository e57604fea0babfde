// Records of nodes that need no engine: number n is `node-n`, with a key that is nobody's.

import { toBase64 } from '../../../src/base/bytes.ts';
import type { Endpoint, IpAddress } from '../../../src/base/ip.ts';
import type { NetmapNode } from '../../../src/protocol/netmap.ts';
import type { NodeId, NodeName, PublicKeyText } from '../../../src/protocol/values.ts';

export function nodeRecord(n: number, over: Partial<NetmapNode> = {}): NetmapNode {
  const key = new Uint8Array(32);
  new DataView(key.buffer).setUint32(4, n);
  key[0] = 9;
  const high = n >> 8;
  const low = n & 255;
  return {
    id: n as NodeId,
    name: `node-${n}` as NodeName,
    publicKey: toBase64(key) as PublicKeyText,
    address4: `100.64.${high}.${low}` as IpAddress,
    address6: `fd77::a:${n.toString(16)}` as IpAddress,
    tags: [],
    candidates: [
      { kind: 'host', endpoint: `10.${n >> 16}.${high & 255}.${low}:51820` as Endpoint },
      { kind: 'host', endpoint: `[2001:db8::${n.toString(16)}]:51820` as Endpoint },
    ],
    online: true,
    ...over,
  };
}
