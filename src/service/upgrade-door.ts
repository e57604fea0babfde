// What stands behind an HTTP upgrade at a path of its own, on a listener that several share: how the controller's port lets in what is
// not its own without knowing it. Types alone.

import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { IpAddress } from '../base/ip.ts';

export interface Visitor {
  /** Where it comes from, a proxy on this machine seen through; null when it is gone already. */
  readonly address: IpAddress | null;
  /** It has shown that it is of the network: the listener's limits for strangers hold no longer. */
  proven(): void;
}

export interface UpgradeDoor {
  /** With which the path of the request ends: a reverse proxy may have left something before it. */
  readonly path: string;
  /** The socket and all that comes of it are the door's from here on. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, visitor: Visitor): void;
}
