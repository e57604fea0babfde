// Session keys in the reference plane: every copy is zeroed when its keypair loses its place, seen through a crypto
// provider that remembers the key objects it was given.

import { describe, expect, it } from 'vitest';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { CryptoProvider } from '../../../src/crypto/provider.ts';
import { createReferencePlane } from '../../../src/dataplane/reference/plane.ts';
import { Lab, type Session } from '../../conformance/lab.ts';
import { ipv4 } from '../../conformance/packets.ts';

/** A lab whose provider remembers every key object that it was given: the plane's own copies. */
function watchedLab(): { lab: Lab; keysOf: (session: Session) => Uint8Array[] } {
  const seen: { key: Uint8Array; was: string }[] = [];
  const remember = (key: Uint8Array): void => {
    if (!seen.some((entry) => entry.key === key)) seen.push({ key, was: key.join() });
  };
  const crypto: CryptoProvider = {
    ...nodeProvider,
    seal: (key, counter, plaintext, aad) => {
      remember(key);
      return nodeProvider.seal(key, counter, plaintext, aad);
    },
    open: (key, counter, ciphertext, aad) => {
      remember(key);
      return nodeProvider.open(key, counter, ciphertext, aad);
    },
  };
  const lab = new Lab(createReferencePlane({ crypto }));
  const keysOf = ({ config }: Session): Uint8Array[] =>
    seen.filter(({ was }) => was === config.sendKey.join() || was === config.receiveKey.join()).map(({ key }) => key);
  return { lab, keysOf };
}

const ZERO = new Uint8Array(32);

/** Sends and receives once, so that both of the plane's copies have been seen. */
function use(session: Session): void {
  session.remote.lab.tunnel(ipv4());
  session.keepalive();
}

describe('session keys', () => {
  it('are zeroed when their keypair loses its place', () => {
    const { lab, keysOf } = watchedLab();
    const remote = lab.remote();
    const sessions = [0, 1, 2].map(() => {
      const session = remote.install();
      use(session);
      return session;
    });
    expect(sessions.map((session) => keysOf(session).length)).toEqual([2, 2, 2]);
    const zeroed = sessions.map((session) => keysOf(session).every((key) => key.join() === ZERO.join()));
    expect(zeroed).toEqual([true, false, false]);
  });

  it.each([
    ['clearKeypairs', (session: Session) => session.remote.lab.plane.clearKeypairs(session.remote.slot)],
    ['removePeer', (session: Session) => session.remote.lab.plane.removePeer(session.remote.slot)],
    ['close', (session: Session) => session.remote.lab.plane.close()],
  ])('are zeroed by %s', (_, end) => {
    const { lab, keysOf } = watchedLab();
    const session = lab.remote().install();
    use(session);
    expect(keysOf(session)).not.toContainEqual(ZERO);
    end(session);
    expect(keysOf(session)).toEqual([ZERO, ZERO]);
  });

  it('that an unconfirmed keypair had are zeroed when another takes its place', () => {
    const { lab, keysOf } = watchedLab();
    const remote = lab.remote();
    const stale = remote.install('responder');
    // An altered message is enough for the plane to use the key.
    const altered = stale.seal(ipv4());
    altered[20] = (altered[20] as number) ^ 1;
    lab.receive(altered, remote.endpoint);
    expect(keysOf(stale)).toEqual([stale.config.receiveKey]);
    remote.install('responder');
    expect(keysOf(stale)).toEqual([ZERO]);
  });

  it('are not the caller’s: those stay as they were', () => {
    const { lab } = watchedLab();
    const sendKey = lab.bytes(32);
    const before = sendKey.slice();
    const remote = lab.remote();
    remote.install('initiator', { sendKey });
    lab.plane.removePeer(remote.slot);
    expect(sendKey).toEqual(before);
  });
});
