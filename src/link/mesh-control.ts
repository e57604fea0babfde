// The control client with its connections: opens a ControlLink when the client wants one, hands over what comes, and calls it at
// its deadlines. One connection counts at a time; what comes from an older one is not passed on.

import { getRandomValues } from 'node:crypto';
import { release } from 'node:os';
import type { Instant, WallTime } from '../base/instant.ts';
import type { IpAddress } from '../base/ip.ts';
import { nodeProvider } from '../crypto/node.ts';
import type { PublicKey } from '../crypto/provider.ts';
import { type ConnectionKey, ControlClient, type ControlOutputs, type ControlStart } from '../mesh/control-client.ts';
import type { ControlStatus } from '../mesh/control-status.ts';
import type { NodeMessage, PunchRequest } from '../protocol/control.ts';
import type { Reach } from '../protocol/reach.ts';
import type { Candidate, PublicKeyText } from '../protocol/values.ts';
import type { Control, ControlSettings } from './control.ts';
import { ControlLink } from './control-link.ts';

/** setTimeout takes no more. */
const TIMER_MS_MAX = 2_147_483_647;

interface Connection {
  readonly number: number;
  readonly link: ControlLink;
  readonly forgetKey: () => void;
}

export class MeshControl implements Control {
  readonly #settings: ControlSettings;
  readonly #client: ControlClient;
  #connection: Connection | null = null;
  #timer: NodeJS.Timeout | null = null;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(settings: ControlSettings, software: string) {
    this.#settings = settings;
    this.#client = new ControlClient({
      random: (out) => {
        getRandomValues(out);
      },
      wallClock: () => Date.now() as WallTime,
      outputs: this.#outputs(),
      software,
      os: `linux ${release()}`.slice(0, 64),
    });
  }

  start(start: ControlStart): void {
    this.#act((now) => this.#client.start(start, now));
  }

  stop(goodbye: 'down' | 'logout' | null): Promise<void> {
    this.#act((now) => this.#client.stop(goodbye, now));
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#drop();
    return Promise.resolve();
  }

  setCandidates(candidates: readonly Candidate[], listenPort: number): void {
    this.#act((now) => this.#client.setCandidates(candidates, listenPort, now));
  }

  setReach(reach: Reach | null): void {
    this.#act((now) => this.#client.setReach(reach, now));
  }

  controllerAddress(): IpAddress | null {
    return this.#connection?.link.remoteAddress ?? null;
  }

  networkChanged(): void {
    this.#act((now) => this.#client.networkChanged(now));
  }

  punch(request: PunchRequest): boolean {
    return this.#act(() => this.#client.punch(request));
  }

  resync(): void {
    this.#act((now) => this.#client.resync(now));
  }

  rotateKey(publicKey: PublicKeyText): boolean {
    return this.#act((now) => this.#client.rotateKey(publicKey, now));
  }

  nextKeyPersisted(publicKey: PublicKeyText): void {
    this.#act((now) => this.#client.nextKeyPersisted(publicKey, now));
  }

  status(): ControlStatus {
    return this.#client.status();
  }

  /** Every call of the client may move its deadline. */
  #act<Result>(call: (now: Instant) => Result): Result {
    const result = call(clock());
    this.#schedule();
    return result;
  }

  #schedule(): void {
    const at = this.#client.nextDeadline();
    if (at === this.#timerAt) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    const ms = Math.min(Math.max(0, Math.ceil(at - clock())), TIMER_MS_MAX);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#act((now) => this.#client.handleDeadline(now));
    }, ms);
  }

  // — what the client wants —

  #outputs(): ControlOutputs {
    const { events } = this.#settings;
    return {
      connect: (number, key) => this.#connect(number, key),
      close: (number) => {
        if (this.#connection?.number === number) this.#drop();
      },
      send: (number, message) => this.#send(number, message),
      probe: (number) => {
        if (this.#connection?.number === number) this.#connection.link.probe();
      },
      welcome: (message) => events.welcome(message),
      snapshot: (message) => events.snapshot(message),
      delta: (message) => events.delta(message),
      punch: (message) => events.punch(message),
      persistNextKey: (key) => events.persistNextKey(key),
      keySwitched: (key) => events.keySwitched(key),
      nextKeyRefused: (key, message) => events.nextKeyRefused(key, message),
      changed: () => events.changed(),
    };
  }

  #connect(number: number, which: ConnectionKey): void {
    this.#drop();
    const secret = this.#settings.privateKey(which);
    const localStatic = nodeProvider.importPrivateKey(secret);
    secret.fill(0);
    const ours = (): boolean => this.#connection?.number === number;
    const link = new ControlLink(
      {
        url: this.#settings.url,
        controllerKey: new Uint8Array(Buffer.from(this.#settings.controllerKey, 'base64url')) as PublicKey,
        localStatic,
      },
      {
        opened: () => {
          if (!ours()) return;
          this.#act((now) => this.#client.opened(number, now));
        },
        message: (message) => {
          if (ours()) this.#act((now) => this.#client.message(number, message, now));
        },
        heard: () => {
          if (ours()) this.#act((now) => this.#client.heard(number, now));
        },
        closed: (reason) => {
          if (!ours()) return;
          this.#forget();
          this.#act((now) => this.#client.closed(number, reason, now));
        },
      },
    );
    this.#connection = { number, link, forgetKey: () => localStatic.wipe() };
  }

  /** What cannot be sent ends the link, which tells so. */
  #send(number: number, message: NodeMessage): void {
    if (this.#connection?.number === number) this.#connection.link.send(message);
  }

  #drop(): void {
    const link = this.#connection?.link;
    this.#forget();
    link?.close();
  }

  #forget(): void {
    this.#connection?.forgetKey();
    this.#connection = null;
  }
}

/** Monotonic; instants of this file are only compared with one another. */
function clock(): Instant {
  return performance.now() as Instant;
}
