// Binding a UDP socket, with a failure as a value, and what a person is told of failures: the controller goes on without. Addresses
// are numeric throughout, so nothing is looked up.

import { createSocket, type Socket } from 'node:dgram';
import { familyOf, type IpAddress } from '../../base/ip.ts';
import { showListen } from '../../service/listen.ts';
import { errorCode, errorMessage } from '../../service/start-error.ts';

export interface BindFailure {
  readonly host: string;
  readonly port: number;
  readonly code: string;
  readonly message: string;
}

/** As in every message to a person: what happened, why, what to do. */
export interface StunProblem {
  readonly what: string;
  readonly why: string;
  readonly help: string;
}

/** Port 0: any. Errors after the binding are nobody's failure: whoever wants to count them listens too. */
export function bindUdp(host: string, port: number): Promise<Socket | BindFailure> {
  const family = familyOf(host as IpAddress);
  return new Promise((resolve) => {
    const failed = (error: unknown): void =>
      resolve({ host, port, code: errorCode(error) ?? 'unknown', message: errorMessage(error) });
    let socket: Socket;
    try {
      socket = createSocket({
        type: family === 4 ? 'udp4' : 'udp6',
        // Both families have a socket of their own, so that an IPv4 address is never one of IPv6.
        ipv6Only: family === 6,
        lookup: (address, _options, callback) => callback(null, address, family),
      });
    } catch (error) {
      failed(error);
      return;
    }
    const refused = (error: unknown): void => {
      failed(error);
      socket.close();
    };
    socket.once('error', refused);
    socket.once('listening', () => {
      socket.on('error', () => undefined);
      socket.off('error', refused);
      resolve(socket);
    });
    socket.bind({ address: host, port, exclusive: true });
  });
}

/** One problem for all that failed; null for none. */
export function stunProblem(failures: readonly BindFailure[]): StunProblem | null {
  const [first] = failures;
  if (first === undefined) return null;
  const where = failures.map(({ host, port }) => showListen({ host, port })).join(', ');
  return { what: `STUN is not answered on ${where}`, ...reasonOf(first) };
}

function reasonOf({ code, port, message }: BindFailure): Omit<StunProblem, 'what'> {
  switch (code) {
    case 'EADDRINUSE':
      return {
        why: `UDP port ${port} is in use`,
        help: `ss -lunp 'sport = :${port}' shows by whom; stop it and start the controller again, or choose another port with --stun ADDR:PORT, or none with --stun off`,
      };
    case 'EACCES':
    case 'EPERM':
      return {
        why: 'ports below 1024 need CAP_NET_BIND_SERVICE',
        help: 'choose another with --stun ADDR:PORT, or give the capability (AmbientCapabilities= in systemd)',
      };
    case 'EADDRNOTAVAIL':
      return {
        why: 'no interface of this machine has that address',
        help: '`ip address` shows those there are; name one with --stun ADDR:PORT or --stun-alternate ADDR',
      };
    default:
      return { why: message, help: 'choose another address with --stun ADDR:PORT, or none with --stun off' };
  }
}
