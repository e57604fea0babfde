// A time limit on requests for a server that is idle most of its life: Node's own (`requestTimeout`) is looked after by an interval that
// wakes the process for as long as the server listens, connections or none. Here a connection has a timer until its one
// request is there. For servers whose clients come with one request each.

import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** setTimeout takes no more; with it Node does not look at all. */
const NEVER_MS = 2_147_483_647;

/** What goes into `createServer` so that Node leaves it to us. */
export const WITHOUT_CHECKS = {
  requestTimeout: 0,
  headersTimeout: 0,
  connectionsCheckingInterval: NEVER_MS,
} as const;

export class RequestLimit {
  readonly #timers = new WeakMap<Socket, NodeJS.Timeout>();

  /** Before `server` listens. */
  constructor(server: Server, limitMs: number) {
    server.maxRequestsPerSocket = 1;
    server.on('connection', (socket: Socket) => {
      const timer = setTimeout(() => socket.destroy(), limitMs).unref();
      this.#timers.set(socket, timer);
      socket.once('close', () => clearTimeout(timer));
    });
  }

  /** The request is there, as far as it is wanted: what follows may take its time. */
  met(socket: Socket): void {
    const timer = this.#timers.get(socket);
    if (timer !== undefined) clearTimeout(timer);
  }
}
