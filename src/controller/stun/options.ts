// `--stun` and `--stun-alternate` as a person gives them, and what is wrong with them in their words. Whether the machine has those
// addresses is found out by binding them (bind.ts).

import { familyOf, type IpAddress, parseAddress } from '../../base/ip.ts';
import { parseListen } from '../../service/listen.ts';
import type { StunSettings } from './stun-server.ts';

export const STUN_PORT_DEFAULT = 3_478;
const OFF = 'off';

/** `settings`: null when STUN is not to be answered. `problem`: null when there is none. */
export interface StunOptions {
  readonly settings: StunSettings | null;
  readonly problem: string | null;
}

/** Undefined: not given. */
export function readStunOptions(listen: string | undefined, alternate: string | undefined): StunOptions {
  const wrong = (problem: string): StunOptions => ({ settings: null, problem });
  if (listen === OFF) {
    return alternate === undefined
      ? { settings: null, problem: null }
      : wrong('--stun-alternate and --stun off exclude each other');
  }
  const address = listen === undefined ? { host: '::', port: STUN_PORT_DEFAULT } : parseListen(listen);
  if (address === null)
    return wrong(`--stun wants ADDR:PORT, [ADDR6]:PORT, :PORT or off, not ${JSON.stringify(listen)}`);
  if (alternate === undefined) return { settings: { listen: address, alternate: null }, problem: null };
  const other = parseAddress(alternate);
  if (other === null) return wrong(`--stun-alternate wants an address, not ${JSON.stringify(alternate)}`);
  if (address.host === '::' || address.host === '0.0.0.0') {
    return wrong('--stun-alternate needs --stun ADDR:PORT with one address, of which it is the second');
  }
  if (other === address.host || familyOf(other) !== familyOf(address.host as IpAddress)) {
    return wrong('--stun-alternate wants another address than --stun, of the same family');
  }
  return { settings: { listen: address, alternate: other }, problem: null };
}
