// Runs inside a namespace: plain UDP sockets (and a TCP connection now and then) that a test drives by lines of JSON on standard
// input, `{id, method, args}` answered by `{id, value}`; what arrives is told as `{socket, from, text}`. Ends with its input. A socket
// that reflects answers «where» with the address it was asked from (as STUN does), if asked from another one of its kin.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createInterface } from 'node:readline';

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const sockets = new Map();
let opened = 0;

async function open({ family, address, port }) {
  const socket = createSocket({ type: family === 6 ? 'udp6' : 'udp4', ipv6Only: family === 6 });
  // Refused ports and unreachable places are what tests are about.
  socket.on('error', () => {});
  socket.bind(port, address);
  await once(socket, 'listening');
  const name = ++opened;
  sockets.set(name, socket);
  return { socket: name, port: socket.address().port };
}

/** Sends are in order: each waits until the one before has left. */
const send = (name, to, text) =>
  new Promise((resolve) => sockets.get(name).send(text, to.port, to.address, (error) => resolve(error?.code ?? null)));

const METHODS = {
  async open(where) {
    const { socket, port } = await open(where);
    sockets.get(socket).on('message', (bytes, { address, port: from }) => {
      say({ socket, from: { address, port: from }, text: bytes.toString('latin1') });
    });
    return { socket, port };
  },
  close(name) {
    sockets.get(name)?.close();
    sockets.delete(name);
  },
  send,
  /** Sockets on all of `addresses` × `ports` of one family; «where TAG A P» is answered from address number A and port number P. */
  async reflect({ family, addresses, ports }) {
    const grid = [];
    for (const address of addresses) {
      const row = [];
      for (const port of ports) row.push((await open({ family, address, port })).socket);
      grid.push(row);
    }
    for (const name of grid.flat()) {
      sockets.get(name).on('message', (bytes, { address, port }) => {
        const [word, tag, a, p] = bytes.toString('latin1').split(' ');
        const from = grid[Number(a)]?.[Number(p)];
        if (word !== 'where' || from === undefined) return;
        send(from, { address, port }, `at ${tag} ${a} ${p} ${address} ${port}`);
      });
    }
  },
  async listenTcp({ address, ports }) {
    for (const port of ports) {
      const server = createServer((socket) => socket.on('error', () => {}).end());
      server.listen({ port, host: address, ipv6Only: true });
      await once(server, 'listening');
    }
  },
  ownAddresses: () =>
    Object.values(networkInterfaces()).flatMap((addresses) => addresses.map(({ address }) => address)),
  connectTcp: ({ address, port, limitMs }) =>
    new Promise((resolve) => {
      const socket = connect({ host: address, port });
      const end = (result) => {
        socket.destroy();
        resolve(result);
      };
      socket.setTimeout(limitMs, () => end('timeout'));
      socket.once('connect', () => end('connected')).on('error', (error) => end(error.code));
    }),
};

say({ ready: process.pid });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, args } = JSON.parse(line);
  Promise.resolve(METHODS[method](...args)).then((value) => say({ id, value: value ?? null }));
}
process.exit(0);
