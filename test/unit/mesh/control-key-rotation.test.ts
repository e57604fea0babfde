// The node's side of a change of its key: asked for on one connection, proved on the next, and undone when it comes to
// nothing. Leaves out where the keys are kept: that is the daemon's.

import { describe, expect, test } from 'vitest';
import type { PublicKeyText } from '../../../src/protocol/values.ts';
import { ControlFixture } from './control-fixture.ts';

const NEXT = `${'N'.repeat(42)}E=` as PublicKeyText;

describe('a new key', () => {
  test('is on disk before the controller hears of it, and ours when it says so', () => {
    const f = new ControlFixture().connected();
    expect(f.client.rotateKey(NEXT, f.now)).toBe(true);
    expect(f.client.rotateKey(NEXT, f.now)).toBe(false);
    expect(f.take()).toEqual([`persist ${NEXT}`]);
    f.client.nextKeyPersisted(NEXT, f.now);
    expect(f.take()).toEqual(['send rotateKey']);
    f.say({ type: 'keyRotated', publicKey: NEXT });
    expect(f.take()).toEqual([`switched ${NEXT}`]);
    f.closed();
    f.run(1000);
    expect(f.take()).toEqual(['close', 'connect current']);
  });

  test('is asked for again when the connection broke before the controller had it', () => {
    const f = new ControlFixture().connected();
    f.client.rotateKey(NEXT, f.now);
    f.client.nextKeyPersisted(NEXT, f.now);
    f.closed();
    f.run(1000);
    f.open();
    f.take();
    f.welcome();
    expect(f.take()).toEqual(['welcome', 'send rotateKey']);
  });

  test('is used when the controller knows the old one no more: the answer was lost, or we crashed', () => {
    const f = new ControlFixture();
    f.start({ nextKey: NEXT });
    f.open();
    f.take();
    f.error('unregistered');
    expect(f.take()).toEqual(['close', 'connect next']);
    f.open();
    f.take();
    f.welcome();
    expect(f.take()).toEqual([`switched ${NEXT}`, 'welcome']);
    expect(f.client.status().step).toBe('netmap');
  });

  test('that fares no better is forgotten, and the refusal stands', () => {
    const f = new ControlFixture();
    f.start({ nextKey: NEXT });
    f.open();
    f.error('unregistered');
    f.open();
    f.take();
    f.error('unregistered');
    expect(f.take()).toEqual([`refused ${NEXT}`, 'close']);
    expect(f.client.status().problem?.code).toBe('unregistered');
  });

  test('never makes us join as another node: an auth key is used only when both keys are unknown', () => {
    const f = new ControlFixture();
    f.start({ nextKey: NEXT, authKey: 'secret-of-the-link' });
    f.open();
    expect(f.lastRegister.authKey).toBeNull();
    f.error('unregistered');
    f.open();
    expect(f.lastRegister.authKey).toBeNull();
    f.take();
    f.error('unregistered');
    expect(f.take()).toEqual([`refused ${NEXT}`, 'close', 'connect current']);
    f.open();
    expect(f.lastRegister.authKey).toBe('secret-of-the-link');
  });

  test('does not keep a removed machine from joining again: both keys are tried, then the auth key', () => {
    const f = new ControlFixture();
    f.start({ nextKey: NEXT, authKey: 'secret-of-the-link' });
    f.open();
    f.take();
    f.error('nodeRemoved');
    expect(f.take()).toEqual(['close', 'connect next']);
    f.open();
    f.take();
    f.error('unregistered');
    expect(f.take()).toEqual([`refused ${NEXT}`, 'close', 'connect current']);
    f.open();
    expect(f.lastRegister.authKey).toBe('secret-of-the-link');
  });

  test('of a removed machine without an auth key ends with being told of the removal', () => {
    const f = new ControlFixture();
    f.start({ nextKey: NEXT });
    f.open();
    f.error('nodeRemoved');
    f.open();
    f.error('unregistered');
    expect(f.client.status().problem?.code).toBe('nodeRemoved');
  });

  test('does not keep an expired machine from being renewed: its key is known, so the auth key is safe', () => {
    const f = new ControlFixture();
    f.start({ nextKey: NEXT, authKey: 'secret-of-the-link' });
    f.open();
    f.take();
    f.error('nodeExpired');
    expect(f.take()).toEqual(['close', 'connect current']);
    f.open();
    expect(f.lastRegister.authKey).toBe('secret-of-the-link');
    f.error('authKeyUsed');
    expect(f.client.status().problem?.code).toBe('authKeyUsed');
  });

  test('that another node has is refused, and the connection goes on', () => {
    const f = new ControlFixture().connected();
    f.client.rotateKey(NEXT, f.now);
    f.client.nextKeyPersisted(NEXT, f.now);
    f.take();
    f.error('keyInUse');
    expect(f.take()).toEqual([`refused ${NEXT}`]);
    expect(f.client.status().step).toBe('connected');
  });
});
