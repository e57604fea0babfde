// Administration: what each command changes, answers and leaves in the audit log, and what it is refused for.

import { describe, expect, test } from 'vitest';
import type { WallTime } from '../../../src/base/instant.ts';
import type { IpAddress } from '../../../src/base/ip.ts';
import type { AdminCommand } from '../../../src/controller/state/commands.ts';
import { authKeyStateOf, nodeStateOf } from '../../../src/controller/state/state-view.ts';
import type { NodeId, NodeName } from '../../../src/protocol/values.ts';
import { ADMIN, key, Lab, WALL_START } from './lab.ts';

const NODE = 1 as NodeId;

function refusal(lab: Lab, command: AdminCommand): string {
  const before = lab.store.audit.length;
  const answer = lab.administer(command);
  if (answer.ok) throw new Error('granted');
  const { code, message, why, help } = answer.refusal;
  expect([message, why, help].every((text) => text !== null && /[.]$/.test(text))).toBe(true);
  expect(lab.store.audit).toHaveLength(before);
  return code;
}

describe('auth keys', () => {
  test('are made with a secret that is told once and stored as a hash', () => {
    const lab = new Lab();
    const input = { description: 'ci', reusable: true, ephemeral: true, preApproved: true, tags: ['ci'] };
    const result = lab.ask({ action: 'keys.create', input: { ...input, expiresInSeconds: 60 } });
    if (result.kind !== 'authKeyCreated') throw new Error(result.kind);
    expect(result.secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(result.key).toMatchObject({ ...input, uses: 0, createdAt: WALL_START, expiresAt: WALL_START + 60_000 });
    expect(result.key.id).toMatch(/^k_[A-Za-z0-9]{10}$/);
    expect(result.key.secretHash).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.stringify(lab.store.load()) + JSON.stringify(lab.store.audit)).not.toContain(result.secret);
    expect(lab.store.audit).toEqual([
      {
        id: 1,
        at: WALL_START,
        actor: 'socket',
        source: 'local',
        action: 'keys.create',
        target: result.key.id,
        detail: { ...input, expiresAt: WALL_START + 60_000 },
      },
    ]);
  });

  test('differ from one another', () => {
    const lab = new Lab();
    const made = Array.from({ length: 50 }, () => lab.authKey());
    expect(new Set(made.map(({ secret }) => secret)).size).toBe(50);
    expect(new Set(made.map(({ id }) => id)).size).toBe(50);
  });

  test('have a state', () => {
    const lab = new Lab();
    const { id, secret } = lab.authKey({ expiresInSeconds: 10 });
    const state = (wall: number) => authKeyStateOf(lab.core.state.authKey(id) as never, wall as WallTime);
    expect([state(WALL_START), state(WALL_START + 10_000)]).toEqual(['usable', 'expired']);
    lab.connect(key(1)).register({ authKey: secret });
    expect(state(WALL_START)).toBe('used');
    lab.ask({ action: 'keys.revoke', id });
    expect(state(WALL_START)).toBe('revoked');
    lab.ask({ action: 'keys.revoke', id });
    expect(lab.store.audit.filter(({ action }) => action === 'keys.revoke')).toHaveLength(1);
    expect(refusal(lab, { action: 'keys.revoke', id: 'k_none' })).toBe('keyNotFound');
  });

  test('are limited in number', () => {
    const lab = new Lab({ limits: { authKeysMax: 2 } });
    lab.authKey();
    lab.authKey();
    const input = { description: '', reusable: false, ephemeral: false, preApproved: false, tags: [] };
    expect(refusal(lab, { action: 'keys.create', input: { ...input, expiresInSeconds: null } })).toBe('tooMany');
  });
});

describe('nodes', () => {
  test('are renamed, and a name belongs to one', () => {
    const lab = new Lab();
    const [client] = [lab.join(1), lab.join(2)];
    lab.ask({ action: 'nodes.rename', node: NODE, name: 'db' as NodeName });
    expect(client.last('delta').ops).toMatchObject([{ op: 'put', node: { id: 1, name: 'db' } }]);
    expect(lab.store.audit.at(-1)).toMatchObject({
      action: 'nodes.rename',
      target: '1',
      detail: { renamed: ['host1', 'db'] },
    });
    expect(refusal(lab, { action: 'nodes.rename', node: NODE, name: 'host2' as NodeName })).toBe('nameTaken');
    lab.ask({ action: 'nodes.rename', node: 2 as NodeId, name: 'host1' as NodeName });
    expect(lab.core.state.nodeByName('host1' as NodeName)?.id).toBe(2);
  });

  test('are given addresses of the range, and an address belongs to one', () => {
    const lab = new Lab();
    const client = lab.join(1);
    lab.join(2);
    const change = (address4: string, address6 = 'fd00:77::beef'): AdminCommand => ({
      action: 'nodes.change',
      node: NODE,
      edit: { addresses: { address4: address4 as IpAddress, address6: address6 as IpAddress } },
    });
    lab.ask(change('100.64.9.9'));
    expect(client.netmap.get(1)).toMatchObject({ address4: '100.64.9.9', address6: 'fd00:77::beef' });
    expect(client.closed).toBe(false);
    for (const outside of ['100.65.0.1', '100.64.0.0', '100.64.0.1', '100.64.255.255', 'fd00:77::5']) {
      expect(refusal(lab, change(outside))).toBe('addressInvalid');
    }
    expect(refusal(lab, change('100.64.9.9', 'fd00:78::5'))).toBe('addressInvalid');
    expect(refusal(lab, change('100.64.0.3'))).toBe('addressTaken');
    expect(refusal(lab, change('100.64.9.9', 'fd00:77::3'))).toBe('addressTaken');
  });

  test('whose addresses were moved by hand are stepped over', () => {
    const lab = new Lab();
    lab.join(1);
    const addresses = { address4: '100.64.0.3' as IpAddress, address6: 'fd00:77::4' as IpAddress };
    lab.ask({ action: 'nodes.change', node: NODE, edit: { addresses } });
    expect(lab.join(2).last('welcome').self).toMatchObject({ address4: '100.64.0.5', address6: 'fd00:77::5' });
  });

  test('have their tags changed, all in one with the rest', () => {
    const lab = new Lab();
    const client = lab.join(1);
    lab.ask({ action: 'nodes.change', node: NODE, edit: { tags: ['a', 'b'], name: 'x' as NodeName } });
    expect(client.netmap.get(1)).toMatchObject({ tags: ['a', 'b'], name: 'x' });
    expect(client.last('delta').ops).toHaveLength(1);
    expect(lab.store.audit.at(-1)?.detail).toEqual({ name: 'host1', tags: [[], ['a', 'b']], renamed: ['host1', 'x'] });
  });

  test('are as they were after a change that changes nothing, and nothing is stored', () => {
    const lab = new Lab();
    lab.join(1);
    const batches = lab.core.counters.batchesCommitted;
    lab.ask({ action: 'nodes.change', node: NODE, edit: { tags: [], disabled: false, expiresAt: null } });
    lab.ask({ action: 'nodes.approve', node: NODE });
    expect(lab.core.counters.batchesCommitted).toBe(batches);
  });

  test('that are disabled and enabled again are offline until they are back', () => {
    const lab = new Lab();
    lab.join(1);
    const watcher = lab.join(2);
    lab.ask({ action: 'nodes.change', node: NODE, edit: { disabled: true } });
    expect(lab.store.nodes.get(1)).toMatchObject({ disabled: true, online: false });
    lab.ask({ action: 'nodes.change', node: NODE, edit: { disabled: false } });
    expect(watcher.netmap.get(1)?.online).toBe(false);
    lab.connect(key(1)).register();
    expect(watcher.netmap.get(1)?.online).toBe(true);
  });

  test('have a state', () => {
    const lab = new Lab();
    lab.join(1);
    const state = () => nodeStateOf(lab.core.state.node(NODE) as never, lab.wall);
    expect(state()).toBe('active');
    lab.ask({ action: 'nodes.expire', node: NODE });
    expect(state()).toBe('expired');
    lab.ask({ action: 'nodes.change', node: NODE, edit: { disabled: true } });
    expect(state()).toBe('disabled');
    lab.ask({ action: 'settings.change', edit: { requireApproval: true } });
    lab.join(2);
    expect(nodeStateOf(lab.core.state.node(2 as NodeId) as never, lab.wall)).toBe('pending');
  });

  test('that are not there are not found, whatever is asked', () => {
    const lab = new Lab();
    const commands: AdminCommand[] = [
      { action: 'nodes.approve', node: NODE },
      { action: 'nodes.rename', node: NODE, name: 'x' as NodeName },
      { action: 'nodes.expire', node: NODE },
      { action: 'nodes.remove', node: NODE },
      { action: 'nodes.change', node: NODE, edit: {} },
    ];
    for (const command of commands) expect(refusal(lab, command)).toBe('nodeNotFound');
  });

  test('are found by id, key, name and address', () => {
    const lab = new Lab();
    lab.join(1);
    const { state } = lab.core;
    const found = [
      state.node(NODE),
      state.nodeByKey(key(1)),
      state.nodeByName('host1' as NodeName),
      state.nodeByAddress('100.64.0.2' as IpAddress),
      state.nodeByAddress('fd00:77::2' as IpAddress),
    ];
    expect(found.map((node) => node?.id)).toEqual([1, 1, 1, 1, 1]);
  });
});

describe('tokens', () => {
  const create = (lab: Lab, expiresInSeconds: number | null = null) => {
    const result = lab.ask({
      action: 'tokens.create',
      input: { name: 'ci', scopes: ['nodes:read'], expiresInSeconds },
    });
    if (result.kind !== 'tokenCreated') throw new Error(result.kind);
    return result;
  };

  test('are known by their secret, until they expire or are revoked', () => {
    const lab = new Lab();
    const { secret, token } = create(lab, 60);
    expect(lab.core.checkToken(secret, lab.clock)).toMatchObject({ ok: true, token: { id: token.id } });
    expect(lab.core.checkToken(`${secret.slice(0, -2)}AA`, lab.clock)).toEqual({ ok: false, reason: 'unknown' });
    expect(lab.core.checkToken('', lab.clock)).toEqual({ ok: false, reason: 'unknown' });
    lab.advance(60_000);
    expect(lab.core.checkToken(secret, lab.clock)).toEqual({ ok: false, reason: 'expired' });
    lab.ask({ action: 'tokens.revoke', id: token.id });
    expect(lab.core.checkToken(secret, lab.clock)).toEqual({ ok: false, reason: 'revoked' });
    expect(refusal(lab, { action: 'tokens.revoke', id: 't_none' })).toBe('tokenNotFound');
    expect(JSON.stringify(lab.store.load())).not.toContain(secret);
  });

  test('have their last use stored, at most once a minute', () => {
    const lab = new Lab();
    const { secret, token } = create(lab);
    const batches = lab.core.counters.batchesCommitted;
    for (let i = 0; i < 59; i++) {
      lab.core.checkToken(secret, lab.clock);
      lab.run();
      lab.advance(1_000);
    }
    expect(lab.store.tokens.get(token.id)?.lastUsedAt).toBe(WALL_START);
    expect(lab.core.counters.batchesCommitted).toBe(batches + 1);
    lab.advance(2_000);
    lab.core.checkToken(secret, lab.clock);
    lab.run();
    expect(lab.store.tokens.get(token.id)?.lastUsedAt).toBe(WALL_START + 61_000);
  });
});

test('too many commands that wait are refused at once', () => {
  const lab = new Lab({ limits: { adminWaitingMax: 3 } });
  const tickets = Array.from({ length: 5 }, () =>
    lab.core.administer({ action: 'settings.change', edit: { requireApproval: true } }, ADMIN, lab.clock),
  );
  lab.run();
  expect(tickets.map((ticket) => lab.answer(ticket)?.ok)).toEqual([true, true, true, false, false]);
  expect(lab.ask({ action: 'settings.change', edit: {} })).toMatchObject({ kind: 'settings' });
});
