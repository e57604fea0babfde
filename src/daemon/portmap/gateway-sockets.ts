// The sockets of one gateway, bound to our address towards it: one connected to its PCP and NAT-PMP server, one for searches while
// there is one, one that hears announcements. What comes from anybody but the gateway is dropped here. A socket that cannot be had
// is a gateway that does not answer; nothing throws and nothing holds the process.

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { familyOf, type IpAddress } from '../../base/ip.ts';
import { ANNOUNCEMENT_PORT, SERVER_PORT } from '../../path/portmap/pcp.ts';
import { SSDP_PORT } from '../../path/portmap/ssdp.ts';
import { errorCode } from '../../service/start-error.ts';
import type { Gateway } from './gateways.ts';

/** Datagrams that wait for a socket to be ready. */
const WAITING_MAX = 8;
/** Hops of a search: the gateway is one away, two are usual. */
const SEARCH_TTL = 2;
/** Announcements that are read before the next renewal; whoever floods the group is not listened to after that. */
export const ANNOUNCEMENTS_MAX = 64;
const ALL_HOSTS = { 4: '224.0.0.1', 6: 'ff02::1' } as const;

export interface SocketEvents {
  server(bytes: Uint8Array): void;
  serverUnreachable(): void;
  searchAnswer(bytes: Uint8Array): void;
  announcement(bytes: Uint8Array): void;
}

export class GatewaySockets {
  readonly #gateway: Gateway;
  readonly #events: SocketEvents;
  readonly #family: 4 | 6;
  #server: ReadySocket | null = null;
  #search: ReadySocket | null = null;
  #announcements: ReadySocket | null = null;
  #announced = 0;
  #closed = false;
  /** Datagrams of others than the gateway, for status and tests. */
  strangers = 0;

  constructor(gateway: Gateway, events: SocketEvents) {
    this.#gateway = gateway;
    this.#events = events;
    this.#family = familyOf(gateway.address);
  }

  toServer(bytes: Uint8Array): void {
    this.#hearAnnouncements();
    this.#server ??= this.#openServer();
    this.#server.run((socket, sent) => socket.send(bytes, sent));
  }

  search(bytes: Uint8Array, to: IpAddress): void {
    this.#search ??= this.#openSearch();
    this.#search.run((socket, sent) => socket.send(bytes, SSDP_PORT, to, sent));
  }

  searchOver(): void {
    this.#search?.close();
    this.#search = null;
  }

  close(): void {
    this.#closed = true;
    for (const socket of [this.#server, this.#search, this.#announcements]) socket?.close();
  }

  /** The kernel drops what does not come from the gateway's port, and tells when nobody listens there. */
  #openServer(): ReadySocket {
    return new ReadySocket(this.#family, {
      bind: { address: this.#gateway.local, port: 0 },
      shared: false,
      bound: (socket, ready) => {
        socket.once('connect', ready);
        socket.connect(SERVER_PORT, this.#scoped);
      },
      message: (bytes) => this.#events.server(bytes),
      error: (code) => {
        if (code === 'ECONNREFUSED') {
          this.#events.serverUnreachable();
          return;
        }
        this.#server?.close();
        this.#server = null;
      },
    });
  }

  #openSearch(): ReadySocket {
    const { local } = this.#gateway;
    return new ReadySocket(this.#family, {
      bind: { address: local, port: 0 },
      shared: false,
      bound: (socket, ready) => {
        socket.setMulticastInterface(local);
        socket.setMulticastTTL(SEARCH_TTL);
        ready();
      },
      message: (bytes, from) => {
        if (this.#isGateway(from)) this.#events.searchAnswer(bytes);
        else this.strangers++;
      },
      error: () => this.searchOver(),
    });
  }

  /** Bound to the group: datagrams to the port at our own addresses are others'. Shared with whoever else listens there. */
  #hearAnnouncements(): void {
    this.#announced = 0;
    if (this.#announcements !== null || this.#closed) return;
    const group = ALL_HOSTS[this.#family];
    const { ifname, local } = this.#gateway;
    const isIpv4 = this.#family === 4;
    this.#announcements = new ReadySocket(this.#family, {
      bind: { address: isIpv4 ? group : `${group}%${ifname}`, port: ANNOUNCEMENT_PORT },
      shared: true,
      bound: (socket, ready) => {
        socket.addMembership(group, isIpv4 ? local : `::%${ifname}`);
        ready();
      },
      message: (bytes, from) => this.#takeAnnouncement(bytes, from),
      error: () => this.#endAnnouncements(),
    });
  }

  #takeAnnouncement(bytes: Uint8Array, from: RemoteInfo): void {
    if (++this.#announced > ANNOUNCEMENTS_MAX) {
      this.#endAnnouncements();
    } else if (this.#isGateway(from) && from.port === SERVER_PORT) {
      this.#events.announcement(bytes);
    } else {
      this.strangers++;
    }
  }

  #endAnnouncements(): void {
    this.#announcements?.close();
    this.#announcements = null;
  }

  #isGateway(from: RemoteInfo): boolean {
    const [address] = from.address.split('%');
    return address === this.#gateway.address;
  }

  /** Link-local gateways mean something on their interface alone. */
  get #scoped(): string {
    const { address, ifname } = this.#gateway;
    return this.#family === 6 && address.startsWith('fe80:') ? `${address}%${ifname}` : address;
  }
}

interface SocketWork {
  readonly bind: { readonly address: string; readonly port: number };
  /** With other sockets of this machine at the same address and port. */
  readonly shared: boolean;
  /** May throw: multicast without a route does. */
  bound(socket: Socket, ready: () => void): void;
  message(bytes: Uint8Array, from: RemoteInfo): void;
  error(code: string | null): void;
}

/** A socket that is being opened: what is sent meanwhile waits, within limits. */
class ReadySocket {
  readonly #socket: Socket;
  readonly #work: SocketWork;
  #waiting: (() => void)[] | null = [];
  #closed = false;

  constructor(family: 4 | 6, work: SocketWork) {
    this.#work = work;
    const isIpv4 = family === 4;
    const socket = createSocket({ type: isIpv4 ? 'udp4' : 'udp6', reuseAddr: work.shared, ipv6Only: !isIpv4 });
    this.#socket = socket;
    socket.unref();
    socket.on('message', (bytes, from) => {
      if (!this.#closed) work.message(bytes, from);
    });
    socket.on('error', (error) => this.#failed(error));
    socket.bind(work.bind, () => {
      try {
        if (!this.#closed) work.bound(socket, () => this.#ready());
      } catch (error) {
        this.#failed(error);
      }
    });
  }

  run(job: (socket: Socket, sent: (error: Error | null) => void) => void): void {
    if (this.#closed) return;
    if (this.#waiting !== null) {
      if (this.#waiting.length < WAITING_MAX) this.#waiting.push(() => this.run(job));
      return;
    }
    // What cannot be sent is lost like any datagram. But a refusal of the one before may be told with this one.
    job(this.#socket, (error) => {
      if (errorCode(error) === 'ECONNREFUSED') this.#failed(error);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  #ready(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const job of waiting) job();
  }

  #failed(error: unknown): void {
    if (!this.#closed) this.#work.error(errorCode(error));
  }
}
