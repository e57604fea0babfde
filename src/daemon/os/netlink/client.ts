// Requests over one netlink socket: one in flight, the others wait their turn, so an answer belongs to whoever asks. The kernel
// does what a request asks before send(2) returns and the answer then waits already: as a rule nothing here waits for the
// event loop. Lists that changed while they were told are asked for again. Leaves out the meaning of messages (rtnetlink.ts).

import type { NativeFailure, NativeNetlink } from '../../../dataplane/native/addon.ts';
import { errnoName } from '../../../dataplane/native/explain.ts';
import {
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  readMessages,
  readOutcome,
} from './message.ts';

export const REQUEST_TIMEOUT_MS = 2000;
/** Requests that wait; more are refused. */
export const REQUESTS_WAITING_MAX = 4096;
/** A list that keeps changing is given as it is after so many tries: whoever lists also hears of changes. */
export const LIST_TRIES_MAX = 5;
/** Datagrams read before other work has its turn: 32 KiB each at most, of which a list of routes takes 5 ms. */
const DATAGRAMS_PER_TURN = 8;

export interface NetlinkFailure {
  /** As Node spells it. */
  readonly errno: string;
  /** The kernel's words, or null. */
  readonly reason: string | null;
}

export type NetlinkResult<T> =
  | { readonly ok: true; readonly found: readonly T[] }
  | { readonly ok: false; readonly failure: NetlinkFailure };

type Outcome = { readonly ok: true } | { readonly ok: false; readonly failure: NetlinkFailure };

interface Job {
  readonly request: NetlinkRequest;
  /** Forgets what it has taken. */
  readonly begin: () => void;
  readonly take: (message: NetlinkMessage) => void;
  readonly done: (outcome: Outcome) => void;
  sequence: number;
  tries: number;
  interrupted: boolean;
}

export type OpenNetlink = (onReadable: () => void) => NativeNetlink | NativeFailure;

export class NetlinkClient {
  readonly #socket: NativeNetlink;
  readonly #waiting: Job[] = [];
  #current: Job | null = null;
  #sequence = 0;
  /** Datagrams so far. */
  #heard = 0;
  #timer: NodeJS.Timeout | null = null;
  #again: NodeJS.Immediate | null = null;
  #closed = false;

  private constructor(socket: NativeNetlink) {
    this.#socket = socket;
  }

  static open(open: OpenNetlink): NetlinkClient | NativeFailure {
    let client: NetlinkClient | null = null;
    const socket = open(() => {
      if (client !== null) client.#readOn();
    });
    if ('code' in socket) return socket;
    client = new NetlinkClient(socket);
    return client;
  }

  /** Resolves with those of the kernel's messages that `read` makes something of. Never rejects. */
  request<T>(request: NetlinkRequest, read: (message: NetlinkMessage) => T | null): Promise<NetlinkResult<T>> {
    if (this.#closed) return Promise.resolve(failed('EBADF'));
    if (this.#waiting.length >= REQUESTS_WAITING_MAX) return Promise.resolve(failed('ENOBUFS'));
    return new Promise((resolve) => {
      const found: T[] = [];
      this.#waiting.push({
        request,
        begin: () => {
          found.length = 0;
        },
        take: (message) => {
          const one = read(message);
          if (one !== null) found.push(one);
        },
        done: (outcome) => resolve(outcome.ok ? { ok: true, found } : outcome),
        sequence: 0,
        tries: 0,
        interrupted: false,
      });
      if (this.#current === null) this.#next();
    });
  }

  /** For a request that only changes something. Null when it is done. */
  async change(request: NetlinkRequest): Promise<NetlinkFailure | null> {
    const result = await this.request(request, () => null);
    return result.ok ? null : result.failure;
  }

  /** Whoever waits is told EBADF. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#again !== null) clearImmediate(this.#again);
    this.#again = null;
    this.#socket.close();
    const jobs = this.#current === null ? this.#waiting : [this.#current, ...this.#waiting];
    this.#disarm();
    this.#current = null;
    for (const job of jobs.splice(0)) job.done(failed('EBADF'));
    this.#waiting.length = 0;
  }

  #next(): void {
    while (this.#current === null && !this.#closed) {
      const job = this.#waiting.shift();
      if (job === undefined) return;
      this.#start(job);
    }
  }

  #start(job: Job): void {
    this.#sequence = (this.#sequence + 1) >>> 0;
    job.sequence = this.#sequence;
    job.begin();
    job.interrupted = false;
    job.tries++;
    this.#current = job;
    const refused = this.#socket.send(job.request.seal(job.sequence));
    if (refused !== null) {
      this.#finish(failed(errnoName(refused.code)));
      return;
    }
    this.#wait(job);
    this.#readOn();
  }

  /** The time runs from the last datagram on. An event loop that stood still has not looked yet: only silence counts. */
  #wait(job: Job): void {
    const heard = this.#heard;
    this.#timer = setTimeout(() => {
      this.#readOn();
      if (this.#current !== job) return;
      if (this.#heard === heard) this.#finish(failed('ETIMEDOUT'));
      else this.#wait(job);
    }, REQUEST_TIMEOUT_MS);
  }

  /** Reads what waits, and sees to it that what comes later is read. */
  #readOn(): void {
    for (let read = 0; this.#current !== null && !this.#closed; read++) {
      if (read >= DATAGRAMS_PER_TURN) {
        this.#again ??= setImmediate(() => {
          this.#again = null;
          this.#readOn();
        });
        return;
      }
      const datagram = this.#socket.receive();
      if (datagram === null) {
        this.#socket.arm();
        return;
      }
      this.#heard++;
      if (datagram instanceof Uint8Array) {
        for (const message of readMessages(datagram)) this.#take(message);
      } else if (this.#current !== null) {
        this.#finish(failed(errnoName(datagram.code)));
      }
    }
  }

  #take(message: NetlinkMessage): void {
    const job = this.#current;
    // Late answers to what was given up carry an older number.
    if (job === null || message.sequence !== job.sequence) return;
    if ((message.flags & NLM_F_DUMP_INTR) !== 0) job.interrupted = true;
    if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
      job.take(message);
      return;
    }
    const { errno, reason } = readOutcome(message);
    if (errno !== 0) {
      this.#finish({ ok: false, failure: { errno: errnoName(errno), reason } });
    } else if (job.interrupted && job.tries < LIST_TRIES_MAX) {
      this.#waiting.unshift(job);
      this.#release();
    } else {
      this.#finish({ ok: true });
    }
  }

  #finish(outcome: Outcome): void {
    const job = this.#current;
    this.#release();
    job?.done(outcome);
  }

  /** The way is free for the next one, which starts in a turn of its own: this may be in the middle of a datagram. */
  #release(): void {
    this.#disarm();
    this.#current = null;
    if (this.#waiting.length > 0) queueMicrotask(() => this.#next());
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function failed(errno: string): { readonly ok: false; readonly failure: NetlinkFailure } {
  return { ok: false, failure: { errno, reason: null } };
}
