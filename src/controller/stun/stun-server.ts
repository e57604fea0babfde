// The controller's STUN server (docs/stun.md): UDP sockets of both families on a port and the one beside it, so that nodes see how
// their NAT maps, and on a second address too where there is one (RFC 5780). What is answered is StunResponder's to decide.
//
// A controller without it coordinates all the same: what cannot be bound is a problem to tell a person, not a failure.
// Leaves out TCP and TLS. With `::` or 0.0.0.0 the kernel chooses the address that an answer leaves from.

import type { RemoteInfo, Socket } from 'node:dgram';
import type { Instant } from '../../base/instant.ts';
import { type Endpoint, type Family, familyOf, formatEndpoint, type IpAddress, parseAddress } from '../../base/ip.ts';
import { AnswerBudget } from '../../path/stun/answer-budget.ts';
import { type Door, newStunCounters, type StunCounters, StunResponder } from '../../path/stun/responder.ts';
import type { ListenAddress } from '../../service/listen.ts';
import { type BindFailure, bindUdp, type StunProblem, stunProblem } from './bind.ts';

/** Answers that wait in one socket because the kernel takes no more; what comes above is dropped. */
export const SEND_QUEUE_MAX = 256;
/** Tries to find a port that is free on every address, when any will do. */
const PORT_TRIES_MAX = 16;

export interface StunSettings {
  /** The port beside it is used too. Port 0: any two. */
  readonly listen: ListenAddress;
  /** A second address of this machine, of the family of `listen.host`, which is one address then; null = none. */
  readonly alternate: IpAddress | null;
}

interface ServerCounters {
  sent: number;
  sendFailed: number;
  sendQueueFull: number;
  /** Datagrams from port 0, where nobody is. */
  fromPortZero: number;
  socketErrors: number;
}

/** One address with its two ports, or with two addresses four: doors by number, null where nothing is bound. */
interface Line {
  readonly family: Family;
  readonly doors: readonly (Socket | null)[];
  readonly responder: StunResponder;
}

/** Of one port: what was bound, by address. */
interface BoundPort {
  readonly port: number;
  readonly sockets: ReadonlyMap<string, Socket>;
  readonly failures: readonly BindFailure[];
}

export class StunServer {
  /** Where it answers, the port that was asked for first; none when nothing could be bound. */
  readonly ports: readonly number[];
  /** What could not be had, with what to do; null when all is well. */
  readonly problem: StunProblem | null;
  readonly #sockets: readonly Socket[];
  readonly #now: () => Instant;
  readonly #budget = new AnswerBudget();
  readonly #answers: StunCounters = newStunCounters();
  readonly #counters: ServerCounters = {
    sent: 0,
    sendFailed: 0,
    sendQueueFull: 0,
    fromPortZero: 0,
    socketErrors: 0,
  };

  /** Never rejects for what the machine does not have: see `problem`. */
  static async open(settings: StunSettings, now: () => Instant): Promise<StunServer> {
    const { listen, alternate } = settings;
    const addresses = listen.host === '::' ? ['0.0.0.0', '::'] : [listen.host];
    if (alternate !== null) addresses.push(alternate);
    const first = await bindPort(addresses, listen.port);
    const second = await bindPort(addresses, listen.port === 0 ? 0 : portBeside(listen.port));
    return new StunServer(settings, [first, second], now);
  }

  private constructor(settings: StunSettings, bound: readonly [BoundPort, BoundPort], now: () => Instant) {
    this.#now = now;
    const failures = bound.flatMap((port) => port.failures).filter((failure) => !isMissingFamily(settings, failure));
    this.problem = stunProblem(failures);
    const { alternate } = settings;
    const mains = [...new Set(bound.flatMap(({ sockets }) => [...sockets.keys()]))].filter(
      (host) => host !== alternate,
    );
    this.#sockets = mains.flatMap((host) => this.#serve(host, alternate, bound));
    // Of an alternate without its main address, or the other way round, nobody would be told.
    for (const { sockets } of bound) {
      for (const socket of sockets.values()) if (!this.#sockets.includes(socket)) socket.close();
    }
    this.ports = bound.filter(({ sockets }) => mains.some((host) => sockets.has(host))).map(({ port }) => port);
  }

  /** For metrics: numbers that only grow. */
  counters(): Readonly<Record<string, number>> {
    return { ...this.#answers, ...this.#counters };
  }

  /** Sockets that answer now. */
  get socketCount(): number {
    return this.#sockets.length;
  }

  async close(): Promise<void> {
    await Promise.all(this.#sockets.map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))));
  }

  /** Gives the sockets that are used. RFC 5780 only with all four: half of it would look like a NAT that filters. */
  #serve(host: string, alternate: IpAddress | null, bound: readonly [BoundPort, BoundPort]): Socket[] {
    const own = bound.map(({ sockets }) => sockets.get(host) ?? null);
    const others = bound.map(({ sockets }) => (alternate === null ? null : (sockets.get(alternate) ?? null)));
    const whole = [...own, ...others].every((socket) => socket !== null);
    const doors = whole ? [...own, ...others] : own;
    const endpoints = doors.map((_, i) =>
      formatEndpoint(i < 2 ? (host as IpAddress) : (alternate as IpAddress), (bound[i % 2] as BoundPort).port),
    );
    const line: Line = {
      family: familyOf(host as IpAddress),
      doors,
      responder: new StunResponder({
        doors: whole ? (endpoints as [Endpoint, Endpoint, Endpoint, Endpoint]) : null,
        budget: this.#budget,
        counters: this.#answers,
      }),
    };
    for (const [door, socket] of doors.entries()) {
      socket?.on('message', (datagram, from) => this.#received(line, door as Door, datagram, from));
      socket?.on('error', () => {
        this.#counters.socketErrors++;
      });
    }
    return doors.filter((socket) => socket !== null);
  }

  #received(line: Line, door: Door, datagram: Uint8Array, from: RemoteInfo): void {
    if (from.port === 0) {
      this.#counters.fromPortZero++;
      return;
    }
    // A link-local address has a zone, which means nothing to the other end.
    const address = parseAddress(from.address.split('%')[0] as string);
    if (address === null) return;
    const answer = line.responder.answer(datagram, formatEndpoint(address, from.port), door, this.#now());
    if (answer === null) return;
    const socket = line.doors[answer.door];
    if (socket == null) return;
    if (socket.getSendQueueCount() >= SEND_QUEUE_MAX) {
      this.#counters.sendQueueFull++;
      return;
    }
    socket.send(answer.datagram, answer.port, from.address, this.#sent);
  }

  readonly #sent = (error: Error | null): void => {
    if (error === null) this.#counters.sent++;
    else this.#counters.sendFailed++;
  };
}

function portBeside(port: number): number {
  return port === 65_535 ? port - 1 : port + 1;
}

/** A machine without IPv6, or without IPv4, when both were asked for by `::`. */
function isMissingFamily({ listen }: StunSettings, { code }: BindFailure): boolean {
  return listen.host === '::' && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL');
}

/** As many of `addresses` as can be had on `port`; for port 0 on one port that is free on all of them. */
async function bindPort(addresses: readonly string[], port: number): Promise<BoundPort> {
  for (let tries = 1; ; tries++) {
    const sockets = new Map<string, Socket>();
    const failures: BindFailure[] = [];
    let chosen = port;
    for (const host of addresses) {
      const socket = await bindUdp(host, chosen);
      if ('code' in socket) {
        failures.push(socket);
      } else {
        sockets.set(host, socket);
        chosen = socket.address().port;
      }
    }
    const taken = port === 0 && failures.some(({ code }) => code === 'EADDRINUSE');
    if (!taken || tries === PORT_TRIES_MAX) return { port: chosen, sockets, failures };
    for (const socket of sockets.values()) socket.close();
  }
}
