// The tunnel of a mesh node while it is up: the TUN device and UDP sockets (a data plane) with the mesh engine on it, woken by the
// event loop. Made when the node goes up, and again when somebody deletes the device. Leaves out addresses and routes.

import type { Instant } from '../../base/instant.ts';
import { type DataPlane, LinkChange } from '../../dataplane/dataplane.ts';
import { MeshEngine, type MeshEngineOptions } from '../../mesh/mesh-engine.ts';
import { ProblemError } from './problem-error.ts';
import { cannotBind } from './problems.ts';

/** Batches handled before other things of the event loop (clients, the controller) have their turn. */
const BATCHES_PER_TURN = 4;

/** Throws a ProblemError. `onWake` may be called at any moment, from within a call of the plane too. */
export type CreatePlane = (
  ifname: string,
  onWake: () => void,
) => { readonly plane: DataPlane; readonly ifname: string };

export type EngineParts = Pick<
  MeshEngineOptions,
  'crypto' | 'random' | 'wallClock' | 'outputs' | 'idleTimeoutMs' | 'stamps'
>;

export interface TunnelOptions extends EngineParts {
  readonly createPlane: CreatePlane;
  readonly ifname: string;
  /** 32 bytes, borrowed. */
  readonly privateKey: Uint8Array;
  /** 0 = any. */
  readonly port: number;
  /** When `port` is taken: any other will do. */
  readonly portMayChange: boolean;
  /** Somebody deleted the device, or set it down; never from within a call of ours. */
  readonly onLost: (how: 'deleted' | 'down') => void;
}

export class Tunnel {
  readonly mesh: MeshEngine;
  readonly plane: DataPlane;
  readonly ifname: string;
  readonly #onLost: TunnelOptions['onLost'];
  #scheduled: NodeJS.Immediate | null = null;
  #bindErrno: string | null = null;
  #closed = false;

  /** The device is there and the sockets are open. Throws a ProblemError, and leaves nothing then. */
  static open(options: TunnelOptions): Tunnel {
    const tunnel = new Tunnel(options);
    try {
      tunnel.#bind(options);
      return tunnel;
    } catch (error) {
      tunnel.close();
      throw error;
    }
  }

  private constructor(options: TunnelOptions) {
    const { createPlane, crypto, random, wallClock, outputs, idleTimeoutMs, stamps } = options;
    this.#onLost = options.onLost;
    // The engine is made a line later than the plane that wakes it: the first wake-up waits for the next turn.
    const { plane, ifname } = createPlane(options.ifname, () => this.#schedule());
    this.plane = plane;
    this.ifname = ifname;
    this.mesh = new MeshEngine({
      plane,
      crypto,
      random,
      wallClock,
      outputs,
      ...(idleTimeoutMs === undefined ? {} : { idleTimeoutMs }),
      ...(stamps === undefined ? {} : { stamps }),
      onLink: (change) => this.#handleLink(change),
      onBindFailed: (errno) => {
        this.#bindErrno = errno;
      },
    });
  }

  now(): Instant {
    return this.plane.now();
  }

  /** Sessions end without a word, the device goes, and with it its addresses and routes. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#scheduled !== null) clearImmediate(this.#scheduled);
    this.mesh.close(this.plane.now());
    this.plane.close();
  }

  #bind({ privateKey, port, portMayChange }: TunnelOptions): void {
    const now = this.plane.now();
    this.mesh.setIdentity(privateKey, now);
    this.#listen(port);
    if (this.#bindErrno === 'EADDRINUSE' && portMayChange) this.#listen(0);
    if (this.#bindErrno !== null) throw new ProblemError(cannotBind(port, this.#bindErrno));
  }

  #listen(port: number): void {
    const now = this.plane.now();
    this.#bindErrno = this.mesh.setListenPort(port, now);
    if (this.#bindErrno === null) this.mesh.linkUp(now);
  }

  #schedule(): void {
    if (this.#closed || this.#scheduled !== null) return;
    this.#scheduled = setImmediate(() => this.#wake());
  }

  #wake(): void {
    this.#scheduled = null;
    for (let batch = 0; batch < BATCHES_PER_TURN; batch++) {
      if (this.#closed || !this.mesh.handleWake(this.plane.now())) return;
    }
    this.#schedule();
  }

  #handleLink(change: number): void {
    if (change !== LinkChange.deleted && change !== LinkChange.down) return;
    // We are inside the engine's handling of a batch: whoever hears of it may want to close us.
    setImmediate(() => {
      if (!this.#closed) this.#onLost(change === LinkChange.deleted ? 'deleted' : 'down');
    });
  }
}
