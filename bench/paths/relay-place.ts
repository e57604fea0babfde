// Where relays are loaded: two machines on one switch that let nothing of one another in, a relay, and a controller, each in a namespace of
// its own. Links without delay, for throughput.

import { applyRuleset } from '../../test/integration/nat-lab/lib/network-tools.ts';
import { type Host, Lab } from '../../test/interop/lib/lab.ts';

export const ADDRESSES = { controller: '10.9.0.1', a: '10.9.0.2', b: '10.9.0.3', relay: '10.9.0.4' } as const;

export interface RelayPlace {
  readonly lab: Lab;
  readonly controller: Host;
  readonly relay: Host;
  readonly a: Host;
  readonly b: Host;
}

export async function openRelayPlace(name: string): Promise<RelayPlace> {
  const lab = Lab.open(name);
  try {
    const place = {
      lab,
      controller: await lab.host('ctl'),
      relay: await lab.host('rel'),
      a: await lab.host('a'),
      b: await lab.host('b'),
    };
    const end = (host: Host, address: string) => ({ host, device: 'eth0', addresses: [`${address}/24`] });
    await lab.bridge('hub', [
      end(place.controller, ADDRESSES.controller),
      end(place.relay, ADDRESSES.relay),
      end(place.a, ADDRESSES.a),
      end(place.b, ADDRESSES.b),
    ]);
    await forbid(place.a, ADDRESSES.b);
    await forbid(place.b, ADDRESSES.a);
    return place;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** By no family; what comes through a tunnel comes by another device. */
async function forbid(host: Host, address: string): Promise<void> {
  const lines = [
    'table inet divided {',
    'chain input {',
    '  type filter hook input priority 0',
    `  iifname "eth0" ip saddr ${address} drop`,
    '  iifname "eth0" meta nfproto ipv6 drop',
    '}',
    '}',
  ];
  await applyRuleset(host, lines.join('\n'));
}
