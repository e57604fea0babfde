// A UDP socket on the loopback that is connected to the relay's port. Each has an address of 127.0.0.0/8 to itself where the
// machine has all of them, so that the relay's limits on a source hold for each stream and not for all together.

import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';

export const LOOPBACK = '127.0.0.1';
/** As much as an unprivileged process is given by default. */
const RECEIVE_BUFFER_BYTES = 212_992;

/** Rejects with a system error. */
export async function connectToRelay(relayPort: number): Promise<Socket> {
  try {
    return await connected(relayPort, ownAddress());
  } catch {
    return connected(relayPort, LOOPBACK);
  }
}

function connected(relayPort: number, address: string): Promise<Socket> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: RECEIVE_BUFFER_BYTES });
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.close();
      reject(error);
    };
    socket.once('error', fail);
    socket.bind({ address, port: 0, exclusive: true }, () => {
      socket.connect(relayPort, LOOPBACK, () => {
        socket.off('error', fail);
        resolve(socket);
      });
    });
  });
}

/** In 127.64.0.0/10, which nothing else is known to use. */
function ownAddress(): string {
  const [a = 0, b = 0, c = 0] = randomBytes(3);
  return `127.${64 + (a % 64)}.${b}.${1 + (c % 254)}`;
}
