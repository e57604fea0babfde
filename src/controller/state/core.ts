// The controller's pure core: connections, commands and deadlines in, changes to store and messages to send out. A command
// is decided in order, made durable with all others that wait (takeBatch … batchCommitted), and only then answered and
// told. Holds no socket, clock or store. Afterwards, every call may have left outputs, a batch and another deadline:
//
//   core.received(…); store(core.takeBatch(clock)) → core.batchCommitted(clock); carryOut(core.takeOutputs()); sleepUntil(core.nextDeadline())

import type { Instant } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { NodeMessage } from '../../protocol/control.ts';
import type { PublicKeyText } from '../../protocol/values.ts';
import type { Actor, AdminCommand, ConnectionId, Ticket } from './commands.ts';
import { type Counters, newCounters } from './counters.ts';
import type { Change, StoredState, TokenRecord } from './model.ts';
import type { CoreOptions } from './options.ts';
import type { Clock, Output } from './outputs.ts';
import type { StateLists } from './state-view.ts';

export type TokenCheck =
  | { readonly ok: true; readonly token: TokenRecord }
  | { readonly ok: false; readonly reason: 'unknown' | 'expired' | 'revoked' };

export class ControllerCore {
  readonly counters: Counters = newCounters();

  constructor(_stored: StoredState, _options: CoreOptions, _clock: Clock) {}

  /** What is durable. REST lists are made from it. */
  get state(): StateLists {
    throw new Error('not yet');
  }

  /** Nodes with a connection that was welcomed. */
  get connectedCount(): number {
    return 0;
  }

  /** The Noise handshake is done: the key is proven. `remoteAddress` with IPv4-mapped addresses folded into IPv4. */
  connected(
    _conn: ConnectionId,
    _peer: { readonly publicKey: PublicKeyText; readonly remoteAddress: IpAddress | null },
    _clock: Clock,
  ): void {}

  /** `message` has passed its schema. Unknown connections are ignored, as everywhere: they were closed by us. */
  received(_conn: ConnectionId, _message: NodeMessage, _clock: Clock): void {}

  /** A message that did not pass its schema: the error is sent and the connection closed. */
  receivedMalformed(_conn: ConnectionId, _clock: Clock): void {}

  disconnected(_conn: ConnectionId, _clock: Clock): void {}

  /** All that was given to the transport of `conn` has been written out. To be called once after any number of sends. */
  writable(_conn: ConnectionId, _clock: Clock): void {}

  /** Answered by an `answered` output, once durable. */
  administer(_command: AdminCommand, _actor: Actor, _clock: Clock): Ticket {
    throw new Error('not yet');
  }

  /** Checks the secret of a REST token, in constant time; its last use is stored now and then. */
  checkToken(_secret: string, _clock: Clock): TokenCheck {
    throw new Error('not yet');
  }

  /** Decides what waits; null when nothing has to be stored now or a batch is in flight. May leave outputs. */
  takeBatch(_clock: Clock): readonly Change[] | null {
    return null;
  }

  batchCommitted(_clock: Clock): void {}

  /** Nothing of the batch was stored. `message` is for the log of whoever calls; nodes and people get our own words. */
  batchFailed(_message: string, _clock: Clock): void {}

  /** Tells every connection that the controller stops, and closes it. Nobody is announced as offline. */
  goAway(_clock: Clock): void {}

  /** In order; each is given once. */
  takeOutputs(): Output[] {
    return [];
  }

  nextDeadline(): Instant {
    throw new Error('not yet');
  }

  handleDeadline(_clock: Clock): void {}
}
