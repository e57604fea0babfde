// Whether a UDP port that a person chose can be had, before anything depends on it. The sockets themselves are the data plane's,
// opened when the node goes up; somebody may take the port until then, and that is told then.

import { createSocket } from 'node:dgram';
import { errorCode, errorMessage, StartError } from '../../service/start-error.ts';

/** Rejects with a StartError. Hosts without IPv6 count as free for it. */
export async function probePort(port: number): Promise<void> {
  for (const type of ['udp4', 'udp6'] as const) await probe(type, port);
}

function probe(type: 'udp4' | 'udp6', port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ type, ipv6Only: type === 'udp6' });
    socket.once('error', (error) => {
      socket.close();
      const code = errorCode(error);
      if (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL') resolve();
      else reject(cannotUse(port, error));
    });
    socket.bind({ port, exclusive: true }, () => socket.close(() => resolve()));
  });
}

function cannotUse(port: number, error: unknown): StartError {
  const what = `cannot use UDP port ${port}`;
  switch (errorCode(error)) {
    case 'EADDRINUSE':
      return new StartError({
        what,
        why: 'another program has it',
        help: `find it with: ss -ulpn sport = ${port}; or choose another --port (0 = any that is free)`,
      });
    case 'EACCES':
    case 'EPERM':
      return new StartError({
        what,
        why: 'ports below 1024 need CAP_NET_BIND_SERVICE',
        help: 'choose a higher --port',
      });
    default:
      return new StartError({ what, why: errorMessage(error), help: null });
  }
}
