// Registration: who is let in, as what, who is turned away with which error, and what the others are told.

import { describe, expect, test } from 'vitest';
import type { WallTime } from '../../../src/base/instant.ts';
import type { IpPrefix } from '../../../src/base/ip.ts';
import { closesAfter } from '../../../src/controller/state/errors.ts';
import { FATAL_ERRORS } from '../../../src/protocol/control.ts';
import { key, Lab, WALL_START } from './lab.ts';

describe('a new node', () => {
  test('joins with an auth key: id, name, addresses, a netmap with itself in it', () => {
    const lab = new Lab();
    const client = lab.join(1, { hostname: 'Web 1.example.com' });
    const { self, network, epoch, observedAddress, time } = client.last('welcome');
    expect(self).toMatchObject({ id: 1, name: 'web-1', address4: '100.64.0.2', address6: 'fd00:77::2', online: true });
    expect(network).toEqual({ name: 'warren', prefix4: '100.64.0.0/16', prefix6: 'fd00:77::/64' });
    expect([epoch, observedAddress, time]).toEqual(['epoch-0123456789', '192.0.2.1', WALL_START]);
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

  test('has what its auth key says: tags, ephemeral, and where it came from', () => {
    const lab = new Lab();
    const { secret, id } = lab.authKey({ tags: ['web'], ephemeral: true });
    lab.connect(key(1)).register({ authKey: secret });
    expect(lab.store.nodes.get(1)).toMatchObject({ tags: ['web'], ephemeral: true, joinedWith: id, approved: true });
    expect(lab.store.authKeys.get(id)).toMatchObject({ uses: 1, lastUsedAt: WALL_START });
    expect(lab.store.audit.at(-1)).toMatchObject({ actor: 'node host', source: '192.0.2.1', action: 'nodes.join' });
  });

  test('with the tag of a relay takes its addresses from the end, and no machine notices', () => {
    const lab = new Lab();
    const relay = lab.connect(key(1)).register({ authKey: lab.authKey({ tags: ['relay'] }).secret });
    expect(relay.last('welcome').self).toMatchObject({ address4: '100.64.255.254', tags: ['relay'] });
    expect(lab.join(2).last('welcome').self).toMatchObject({ address4: '100.64.0.2', address6: 'fd00:77::2' });
    const another = lab.connect(key(3)).register({ authKey: lab.authKey({ tags: ['relay'] }).secret });
    expect(another.last('welcome').self).toMatchObject({ address4: '100.64.255.253', address6: 'fd00:77::fffd' });
    expect(lab.join(4).last('welcome').self.address4).toBe('100.64.0.3');
  });

  test('without an auth key is unregistered', () => {
    const client = new Lab().connect(key(1)).register();
    expect(client.errors).toEqual(['unregistered']);
    expect(client.closed).toBe(true);
  });

  test('must speak a version that the controller knows', () => {
    const lab = new Lab();
    const client = lab.connect(key(1));
    lab.core.received(
      client.id,
      {
        type: 'register',
        version: 0,
        software: '',
        os: '',
        hostname: 'h',
        authKey: null,
        resume: null,
        candidates: [],
        listenPort: 0,
      },
      lab.clock,
    );
    lab.run();
    expect(client.errors).toEqual(['versionTooOld']);
  });

  test('registers before it says anything else, and soon', () => {
    const lab = new Lab();
    expect(lab.connect(key(1)).send({ type: 'ack', seq: 1 }).errors).toEqual(['malformed']);
    const silent = lab.connect(key(2));
    lab.advance(29_999);
    expect(silent.closed).toBe(false);
    lab.advance(1);
    expect(silent.closed).toBe(true);
  });
});

describe('auth keys', () => {
  test('that do not let in each say why', () => {
    const lab = new Lab();
    const tryWith = (number: number, authKey: string) => {
      const client = lab.connect(key(number)).register({ authKey });
      expect(client.closed).toBe(true);
      return client.errors;
    };
    expect(tryWith(1, 'no-such-secret-at-all')).toEqual(['authKeyInvalid']);
    expect(tryWith(1, 'ü')).toEqual(['authKeyInvalid']);
    const revoked = lab.authKey();
    lab.ask({ action: 'keys.revoke', id: revoked.id });
    expect(tryWith(1, revoked.secret)).toEqual(['authKeyRevoked']);
    const once = lab.authKey();
    lab.connect(key(2)).register({ authKey: once.secret });
    expect(tryWith(1, once.secret)).toEqual(['authKeyUsed']);
    const short = lab.authKey({ expiresInSeconds: 10 });
    lab.advance(10_000);
    expect(tryWith(1, short.secret)).toEqual(['authKeyExpired']);
    expect(lab.core.counters.errors.authKeyInvalid).toBe(2);
  });

  test('for one machine let in exactly one of many at the same moment', () => {
    const lab = new Lab();
    const { secret } = lab.authKey();
    lab.storeWaits = true;
    const blocker = lab.connect(key(99)).register({ authKey: 'no-such-secret-at-all' });
    lab.core.administer(
      { action: 'settings.change', edit: { requireApproval: true } },
      { name: 's', source: 'l' },
      lab.clock,
    );
    lab.run();
    const clients = [1, 2, 3, 4].map((number) => lab.connect(key(number)).register({ authKey: secret }));
    lab.core.administer(
      { action: 'settings.change', edit: { requireApproval: false } },
      { name: 's', source: 'l' },
      lab.clock,
    );
    lab.storeWaits = false;
    lab.commit();
    expect(blocker.errors).toEqual(['authKeyInvalid']);
    expect(clients.map((client) => client.errors)).toEqual([[], ['authKeyUsed'], ['authKeyUsed'], ['authKeyUsed']]);
    expect(lab.core.state.nodeCount).toBe(1);
    expect([...lab.store.authKeys.values()].map((record) => record.uses)).toEqual([1]);
  });

  test('that are reusable let in many', () => {
    const lab = new Lab();
    const { secret, id } = lab.authKey({ reusable: true });
    for (let number = 1; number <= 5; number++) {
      expect(lab.connect(key(number)).register({ authKey: secret }).last('welcome').self.id).toBe(number);
    }
    expect(lab.store.authKeys.get(id)?.uses).toBe(5);
  });

  test('are guessed no more than ten at once from one source, then one in six seconds', () => {
    const lab = new Lab();
    const guess = (address: string): string[] =>
      lab.connect(key(1), address).register({ authKey: 'no-such-secret-at-all' }).errors;
    for (let i = 0; i < 10; i++) expect(guess('203.0.113.5')).toEqual(['authKeyInvalid']);
    const limited = lab.connect(key(1), '203.0.113.5').register({ authKey: 'no-such-secret-at-all' });
    expect(limited.errors).toEqual(['rateLimited']);
    expect(limited.last('error').retryAfterMs).toBe(6_000);
    expect(limited.closed).toBe(false);
    expect(guess('203.0.113.6')).toEqual(['authKeyInvalid']);
    lab.advance(6_000);
    limited.register({ authKey: lab.authKey().secret });
    expect(limited.last('welcome').self.id).toBe(1);
  });

  test('are guessed together by all addresses of one IPv6 /64, and nobody else is held up', () => {
    const lab = new Lab();
    const guess = (address: string): string[] =>
      lab.connect(key(1), address).register({ authKey: 'no-such-secret-at-all' }).errors;
    for (let i = 0; i < 10; i++) guess(`2001:db8::${i + 1}`);
    expect(guess('2001:db8::ffff')).toEqual(['rateLimited']);
    expect(guess('2001:db8:0:1::1')).toEqual(['authKeyInvalid']);
  });

  test('that were guessed wrong do not keep out nodes that are known', () => {
    const lab = new Lab();
    const known = lab.join(1);
    known.disconnect();
    for (let i = 0; i < 11; i++) lab.connect(key(2)).register({ authKey: 'no-such-secret-at-all' });
    expect(lab.connect(key(1)).register({ authKey: 'whatever-it-still-has' }).errors).toEqual([]);
  });
});

describe('a known node', () => {
  test('comes back by its key alone and is sent only what changed', () => {
    const lab = new Lab();
    const first = lab.join(1);
    lab.join(2);
    first.disconnect();
    lab.join(3);
    const again = lab.connect(key(1)).remember(first).register();
    expect(again.last('welcome').self).toMatchObject({ id: 1, name: 'host', address4: '100.64.0.2' });
    expect(again.of('snapshot')).toEqual([]);
    expect(again.of('delta').map(({ from, seq }) => [from, seq])).toEqual([[2, 4]]);
    expect([...again.netmap.keys()]).toEqual([1, 2, 3]);
  });

  test('is sent nothing but the welcome when nothing changed', () => {
    const lab = new Lab();
    const first = lab.join(1, { hostname: 'host' });
    const stored = lab.core.counters.batchesCommitted;
    first.disconnect();
    const again = lab.connect(key(1)).remember(first).register();
    expect(again.inbox.map(({ type }) => type)).toEqual(['welcome']);
    expect(lab.core.counters.batchesCommitted).toBe(stored);
    expect(lab.core.counters.resumes).toBe(1);
  });

  test('with the position of another epoch, or ahead of ours, is sent a snapshot', () => {
    const lab = new Lab();
    lab.join(1);
    for (const resume of [
      { epoch: 'epoch-other-6789', seq: 1 },
      { epoch: 'epoch-0123456789', seq: 1_000 },
    ]) {
      const again = lab.connect(key(1)).register({ resume });
      expect(again.last('snapshot').nodes).toHaveLength(1);
    }
  });

  test('replaces its older connection', () => {
    const lab = new Lab();
    const first = lab.join(1);
    const second = lab.connect(key(1)).register();
    expect(first.errors).toEqual(['replaced']);
    expect(first.closed).toBe(true);
    lab.advance(60_000);
    expect(second.netmap.get(1)?.online).toBe(true);
    expect(lab.core.connectedCount).toBe(1);
  });

  test('comes back so often at most, on however many connections, and no other node is held up by it', () => {
    const lab = new Lab({ limits: { nodeRegisterBurst: 4, nodeRegisterIntervalMs: 1_000 } });
    lab.join(1);
    lab.join(2).disconnect();
    const back = () => lab.connect(key(1)).register({ resume: null });
    for (let i = 0; i < 4; i++) expect(back().of('snapshot')).toHaveLength(1);
    const before = lab.core.counters.snapshotsSent;
    for (let i = 0; i < 50; i++) {
      const refused = back();
      expect(refused.last('error')).toMatchObject({ code: 'rateLimited', retryAfterMs: 1_000 });
      refused.disconnect();
    }
    expect(lab.core.counters.snapshotsSent).toBe(before);
    expect(lab.connect(key(2)).register().of('welcome')).toHaveLength(1);
    lab.advance(1_000);
    expect(back().of('welcome')).toHaveLength(1);
  });

  test('changes its key so often at most, on however many connections', () => {
    const lab = new Lab({ limits: { nodeRotationBurst: 2, nodeRotationIntervalMs: 60_000 } });
    lab.join(1);
    let held = 1;
    const rotate = (to: number): string => {
      const client = lab.connect(key(held)).register();
      client.send({ type: 'rotateKey', publicKey: key(to) });
      if (client.of('keyRotated').length > 0) held = to;
      return client.of('keyRotated').length > 0 ? 'rotated' : (client.errors.at(-1) ?? 'nothing');
    };
    expect([100, 101, 102].map(rotate)).toEqual(['rotated', 'rotated', 'rateLimited']);
    expect(lab.store.audit.filter(({ action }) => action === 'nodes.rotate-key')).toHaveLength(2);
    lab.advance(60_000);
    expect(rotate(103)).toBe('rotated');
  });

  test('that takes another name by its hostname is on record', () => {
    const lab = new Lab();
    lab.join(1, { hostname: 'laptop' });
    lab.connect(key(1)).register({ hostname: 'database' });
    expect(lab.store.audit.at(-1)).toMatchObject({
      actor: 'node laptop',
      action: 'nodes.hostname',
      target: '1',
      detail: { renamed: ['laptop', 'database'] },
    });
    const records = lab.store.audit.length;
    lab.connect(key(1)).register({ hostname: 'database' });
    expect(lab.store.audit).toHaveLength(records);
  });

  test('uses up no auth key that it brings', () => {
    const lab = new Lab();
    lab.join(1).disconnect();
    const { secret, id } = lab.authKey();
    lab.connect(key(1)).register({ authKey: secret });
    expect(lab.store.authKeys.get(id)?.uses).toBe(0);
  });

  test('keeps its name, unless it was made of a hostname that has changed', () => {
    const lab = new Lab();
    lab.join(1, { hostname: 'old' });
    const rename = (hostname: string): string => lab.connect(key(1)).register({ hostname }).last('welcome').self.name;
    expect(rename('OLD.lan')).toBe('old');
    expect(rename('new')).toBe('new');
    lab.ask({ action: 'nodes.rename', node: lab.clients[0]?.nodeId as never, name: 'chosen' as never });
    expect(rename('newer')).toBe('chosen');
  });

  test('that asks again on its connection with a position that does not fit is sent a snapshot: a resync', () => {
    const lab = new Lab();
    const client = lab.join(1);
    client.register({ resume: null });
    expect(client.of('snapshot')).toHaveLength(2);
    expect(client.closed).toBe(false);
    expect(lab.core.counters.resyncs).toBe(1);
    for (let i = 0; i < 4; i++) client.register({ resume: null });
    expect(client.errors).toEqual(['rateLimited']);
    expect(client.closed).toBe(false);
  });
});

describe('nodes that are shut out', () => {
  test('are told which it is, connected or coming back', () => {
    const lab = new Lab();
    const [expired, disabled, removed] = [lab.join(1), lab.join(2), lab.join(3)] as const;
    const watcher = lab.join(4);
    lab.ask({ action: 'nodes.expire', node: expired.nodeId });
    lab.ask({ action: 'nodes.change', node: disabled.nodeId, edit: { disabled: true } });
    lab.ask({ action: 'nodes.remove', node: removed.nodeId });
    const codes = ['nodeExpired', 'nodeDisabled', 'nodeRemoved'];
    expect([expired, disabled, removed].map((client) => client.errors)).toEqual(codes.map((code) => [code]));
    expect([expired, disabled, removed].every((client) => client.closed)).toBe(true);
    expect([...watcher.netmap.keys()]).toEqual([4]);
    expect([1, 2, 3].map((number) => lab.connect(key(number)).register().errors)).toEqual(codes.map((code) => [code]));
    expect(codes.every((code) => FATAL_ERRORS.includes(code as never) && closesAfter(code as never))).toBe(true);
  });

  test('and expired are renewed by an auth key, with their addresses and name', () => {
    const lab = new Lab();
    const before = lab.join(1, { hostname: 'web' }).last('welcome').self;
    lab.join(2);
    lab.ask({ action: 'nodes.expire', node: before.id });
    const { secret, id } = lab.authKey();
    const again = lab.connect(key(1)).register({ hostname: 'web', authKey: secret });
    expect(again.last('welcome').self).toEqual(before);
    expect(lab.store.nodes.get(1)).toMatchObject({ expiresAt: null, joinedWith: id });
    expect(lab.store.authKeys.get(id)?.uses).toBe(1);
    expect(again.netmap.size).toBe(2);
    expect(lab.core.counters.registrationsRenewed).toBe(1);
  });

  test('and disabled are not let in by an auth key', () => {
    const lab = new Lab();
    const node = lab.join(1).nodeId;
    lab.ask({ action: 'nodes.change', node, edit: { disabled: true } });
    expect(lab.connect(key(1)).register({ authKey: lab.authKey().secret }).errors).toEqual(['nodeDisabled']);
    lab.ask({ action: 'nodes.change', node, edit: { disabled: false } });
    expect(lab.connect(key(1)).register().last('welcome').self.id).toBe(node);
  });

  test('and removed come back as new ones, with another id', () => {
    const lab = new Lab();
    lab.ask({ action: 'nodes.remove', node: lab.join(1).nodeId });
    const again = lab.join(1);
    expect(again.last('welcome').self).toMatchObject({ id: 2, name: 'host1', address4: '100.64.0.3' });
    lab.ask({ action: 'nodes.expire', node: again.nodeId });
    expect(lab.connect(key(1)).register().errors).toEqual(['nodeExpired']);
  });

  test('by time: an expiry fires by itself, while the node is connected', () => {
    const lab = new Lab();
    const client = lab.join(1);
    const watcher = lab.join(2);
    lab.ask({ action: 'nodes.change', node: client.nodeId, edit: { expiresAt: (WALL_START + 3_600_000) as WallTime } });
    lab.advance(3_599_999);
    expect(client.closed).toBe(false);
    lab.advance(1);
    expect(client.errors).toEqual(['nodeExpired']);
    expect([...watcher.netmap.keys()]).toEqual([2]);
  });

  test('by time: an expiry while the controller was away is told after the restart', () => {
    const lab = new Lab();
    lab.join(1);
    const watcher = lab.join(2);
    lab.ask({ action: 'nodes.change', node: 1 as never, edit: { expiresAt: (WALL_START + 60_000) as WallTime } });
    lab.restart(120_000);
    const again = lab.connect(key(2)).remember(watcher).register({ hostname: 'host2' });
    lab.advance(0);
    expect([...again.netmap.keys()]).toEqual([2]);
    const seq = lab.core.state.seq;
    lab.restart(1_000);
    lab.advance(0);
    expect(lab.core.state.seq).toBe(seq);
  });

  test('by time: an expiry that is put off does not fire', () => {
    const lab = new Lab();
    const client = lab.join(1);
    const edit = { expiresAt: (WALL_START + 5_000) as WallTime };
    lab.ask({ action: 'nodes.change', node: client.nodeId, edit });
    lab.ask({ action: 'nodes.change', node: client.nodeId, edit: { expiresAt: null } });
    lab.advance(10_000);
    expect(client.closed).toBe(false);
  });
});

describe('approval', () => {
  test('is waited for on the same connection', () => {
    const lab = new Lab({ settings: { requireApproval: true } });
    const pending = lab.join(1);
    expect(pending.inbox.map(({ type }) => type)).toEqual(['pending']);
    expect(lab.core.state.isListed(1 as never)).toBe(false);
    const { secret } = lab.authKey({ preApproved: true });
    const watcher = lab.connect(key(2)).register({ authKey: secret });
    expect([...watcher.netmap.keys()]).toEqual([2]);
    expect(lab.connect(key(3)).register({ authKey: secret }).errors).toEqual(['authKeyUsed']);
    lab.ask({ action: 'nodes.approve', node: 1 as never });
    expect(pending.inbox.map(({ type }) => type).slice(0, 3)).toEqual(['pending', 'welcome', 'snapshot']);
    expect(watcher.netmap.get(1)).toMatchObject({ online: true });
    expect(pending.netmap).toEqual(watcher.netmap);
  });

  test('reaches a node that was away as soon as it is back', () => {
    const lab = new Lab({ settings: { requireApproval: true } });
    const first = lab.join(1);
    first.disconnect();
    lab.ask({ action: 'nodes.approve', node: 1 as never });
    expect(lab.store.nodes.get(1)?.online).toBe(false);
    const again = lab.connect(key(1)).register();
    expect(again.last('welcome').self.online).toBe(true);
  });

  test('that is asked for from now on leaves those in who are in', () => {
    const lab = new Lab();
    const client = lab.join(1);
    lab.ask({ action: 'settings.change', edit: { requireApproval: true } });
    expect(client.closed).toBe(false);
    expect(lab.connect(key(1)).register().of('pending')).toEqual([]);
    expect(lab.join(2).of('pending')).toHaveLength(1);
  });
});

describe('a full network', () => {
  test('says so, and has room again when a node is removed', () => {
    const lab = new Lab({ settings: { prefix4: '10.0.0.0/29' as IpPrefix } });
    const given = [1, 2, 3, 4, 5].map((number) => lab.join(number).last('welcome').self.address4);
    expect(given).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']);
    const late = lab.join(6);
    expect(late.errors).toEqual(['addressesExhausted']);
    expect(late.closed).toBe(true);
    lab.ask({ action: 'nodes.remove', node: 3 as never });
    expect(lab.join(6).last('welcome').self.address4).toBe('10.0.0.4');
    const relay = lab.connect(key(7)).register({ authKey: lab.authKey({ tags: ['relay'] }).secret });
    expect(relay.errors).toEqual(['addressesExhausted']);
  });
});
