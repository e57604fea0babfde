// Registration: who is let in, as what, and what everybody else is told.

import { describe, expect, test } from 'vitest';
import type { IpPrefix } from '../../../src/base/ip.ts';
import { key, Lab } from './lab.ts';

describe('a new node', () => {
  test('joins with an auth key: id, name, addresses, a netmap with itself in it', () => {
    const lab = new Lab();
    const client = lab.join(1, { hostname: 'Web 1.example.com' });
    const { self, network, epoch, observedAddress } = client.last('welcome');
    expect(self).toMatchObject({ id: 1, name: 'web-1', address4: '100.64.0.2', address6: 'fd00:77::2', online: true });
    expect(network).toEqual({ name: 'warren', prefix4: '100.64.0.0/16', prefix6: 'fd00:77::/64' });
    expect([epoch, observedAddress]).toEqual(['epoch-0123456789', '192.0.2.1']);
    expect(client.netmap.get(1)).toEqual(self);
    expect(lab.store.nodes.get(1)).toMatchObject({ publicKey: key(1), hostname: 'Web 1.example.com', online: true });
  });

  test('is told to the others at once', () => {
    const lab = new Lab();
    const first = lab.join(1);
    const second = lab.join(2);
    expect([...first.netmap.keys()]).toEqual([1, 2]);
    expect(second.netmap).toEqual(first.netmap);
    expect(first.of('snapshot')).toHaveLength(1);
    expect(first.last('delta')).toMatchObject({ from: 1, seq: 2, ops: [{ op: 'put', node: { id: 2 } }] });
  });

  test('is welcomed by nothing before it is durable', () => {
    const lab = new Lab();
    const { secret } = lab.authKey();
    const other = lab.join(9);
    lab.storeWaits = true;
    const client = lab.connect(key(1)).register({ authKey: secret });
    expect(lab.holdsBatch).toBe(true);
    expect(client.inbox).toEqual([]);
    expect([...other.netmap.keys()]).toEqual([1]);
    expect(lab.core.state.nodeCount).toBe(1);
    lab.commit();
    expect(client.last('welcome').self.id).toBe(2);
    expect([...other.netmap.keys()]).toEqual([1, 2]);
  });
});

describe('a full network', () => {
  test('says so', () => {
    const lab = new Lab({ settings: { prefix4: '10.0.0.0/30' as IpPrefix } });
    expect(lab.join(1).last('welcome').self.address4).toBe('10.0.0.2');
    const late = lab.join(2);
    expect(late.errors).toEqual(['addressesExhausted']);
    expect(late.closed).toBe(true);
  });
});
