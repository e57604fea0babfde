// Refusals that both stores make in the same words, and what both ask of a key. `where` names the database, never with a
// password. What only one of them can meet stands beside it (sqlite-errors.ts, postgres-errors.ts).

import { StoreError } from './store-error.ts';

export const PRIVATE_KEY_BYTES = 32;

export function closed(where: string): StoreError {
  return new StoreError({
    code: 'closed',
    what: `${where} is closed`,
    why: 'the controller is stopping',
    help: 'try again when it is running',
  });
}

export function alreadyInitialized(where: string): StoreError {
  return new StoreError({
    code: 'alreadyInitialized',
    what: `${where} holds a network already`,
    why: 'it has settings and a key',
    help: 'start the controller without making a new network, or name another place with --data',
  });
}

export function notInitialized(where: string): StoreError {
  return new StoreError({
    code: 'notInitialized',
    what: `${where} holds no network yet`,
    why: 'no controller has been started on it',
    help: 'warren controller makes one on its first start',
  });
}

/** A copy that the store owns: the caller may zero theirs while we wait for our turn. */
export function ownedKey(privateKey: Uint8Array): Buffer {
  if (privateKey.length !== PRIVATE_KEY_BYTES) throw new RangeError(`a private key has ${PRIVATE_KEY_BYTES} bytes`);
  return Buffer.from(privateKey);
}
