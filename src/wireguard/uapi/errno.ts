// Errno names to the numbers that `wg` prints (Linux, asm-generic), for the `errno=` line of the configuration protocol
// (https://www.wireguard.com/xplatform/). Only names that a device or this folder can give; anything else is EIO.

const NUMBERS: Readonly<Record<string, number>> = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EACCES: 13,
  ENODEV: 19,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOSPC: 28,
  EPROTO: 71,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
};

export type UapiOperation = 'get' | 'set' | 'unknown';

/** The positive number of an errno name; EIO's for a name that is not in the table. */
export function errnoNumber(name: string): number {
  return Object.hasOwn(NUMBERS, name) ? (NUMBERS[name] as number) : (NUMBERS['EIO'] as number);
}

/**
 * The closing lines of an answer. `wg` negates what it reads after a `set` and takes a negative number for malformed after
 * a `get` (wireguard-tools 1.0.20210914), so only this choice of sign lets it name the error in both cases.
 */
export function formatErrno(operation: UapiOperation, name: string | null): string {
  if (name === null) return 'errno=0\n\n';
  const number = errnoNumber(name);
  return `errno=${operation === 'get' ? number : -number}\n\n`;
}
