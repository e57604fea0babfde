// What the core wants done. A message is plain data, to be encoded by whoever holds the transport; one that many
// connections are sent is one object, so that its bytes can be made once (a WeakMap from the SharedMessage).

import type { Instant, WallTime } from '../../base/instant.ts';
import type { ControllerMessage, Delta, Snapshot } from '../../protocol/control.ts';
import type { AdminAnswer, ConnectionId, Ticket } from './commands.ts';

/** Both clocks at one moment. */
export interface Clock {
  readonly now: Instant;
  readonly wall: WallTime;
}

/** Never changed after it was made; the same object for all that need the same. */
export interface SharedMessage {
  readonly message: Snapshot | Delta;
}

/** `close`: after all that was sent before; the connection is forgotten already. */
export type Output =
  | { readonly kind: 'send'; readonly conn: ConnectionId; readonly message: ControllerMessage }
  | { readonly kind: 'sendShared'; readonly conn: ConnectionId; readonly shared: SharedMessage }
  | { readonly kind: 'close'; readonly conn: ConnectionId }
  | { readonly kind: 'answered'; readonly ticket: Ticket; readonly answer: AdminAnswer };
