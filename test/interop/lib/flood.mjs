// Runs inside a namespace: sends the datagrams of a file round and round from several source addresses, until its
// standard input closes, and then prints what came back as JSON: replies by their first byte. Plain JavaScript, because
// it is started by node itself. Arguments: FILE DATAGRAM-BYTES TARGET PORT SOURCE...

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

const SENDS_PER_TURN = 128;

const [file, size, target, port, ...sources] = process.argv.slice(2);
const bytes = readFileSync(file);
const datagrams = [];
for (let at = 0; at < bytes.length; at += Number(size)) datagrams.push(bytes.subarray(at, at + Number(size)));

let sent = 0;
const replies = {};
const sockets = [];
for (const address of sources) {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (message) => {
    replies[message[0]] = (replies[message[0]] ?? 0) + 1;
  });
  // A full queue or an unreachable target is part of a flood.
  socket.on('error', () => {});
  socket.bind(0, address);
  await once(socket, 'listening');
  socket.connect(Number(port), target);
  await once(socket, 'connect');
  sockets.push(socket);
}

let stopped = false;
process.stdin.resume();
process.stdin.once('end', () => {
  stopped = true;
});
process.stdout.write('flooding\n');

function turn() {
  if (stopped) {
    process.stdout.write(`${JSON.stringify({ sent, replies })}\n`, () => process.exit(0));
    return;
  }
  for (let i = 0; i < SENDS_PER_TURN; i++) {
    sockets[sent % sockets.length].send(datagrams[sent % datagrams.length]);
    sent++;
  }
  setImmediate(turn);
}
turn();
