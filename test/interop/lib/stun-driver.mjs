// The product's STUN client over a socket, as a process in a namespace: asks `servers` from one socket at `address`, then finds out
// by `discover`'s server how the NAT behaves, and prints both as a line of JSON. Runs the compiled sources.

import { getRandomValues } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { endpointParts, formatEndpoint } from '../../../dist/base/ip.js';
import { NatDiscovery } from '../../../dist/path/stun/behaviour.js';
import { StunClient } from '../../../dist/path/stun/client.js';

const { address, servers, discover } = JSON.parse(process.argv[2]);

/** A socket of its own for each purpose: what was sent before opens a NAT. */
async function open() {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  await new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(0, address, resolve);
  });
  let timer = null;
  const session = { local: formatEndpoint(address, socket.address().port), onResult: () => {} };
  const client = new StunClient({
    random: (out) => getRandomValues(out),
    outputs: {
      send: (to, datagram) => {
        const { address: host, port } = endpointParts(to);
        socket.send(Uint8Array.from(datagram), port, host, () => {});
        return true;
      },
      result: (result) => session.onResult(result),
    },
  });
  const arm = () => {
    clearTimeout(timer);
    const at = client.nextDeadline();
    if (at === Number.POSITIVE_INFINITY) return;
    timer = setTimeout(
      () => {
        client.handleDeadline(performance.now());
        arm();
      },
      Math.max(0, at - performance.now()),
    );
  };
  socket.on('message', (datagram, from) => {
    client.handleDatagram(datagram, formatEndpoint(from.address, from.port), performance.now());
    arm();
  });
  return Object.assign(session, {
    client,
    arm,
    close: () => {
      clearTimeout(timer);
      socket.close();
    },
  });
}

async function ask() {
  const session = await open();
  const results = [];
  await new Promise((resolve) => {
    session.onResult = (result) => {
      results.push(result);
      if (results.length === servers.length) resolve();
    };
    for (const server of servers) session.client.ask(server, performance.now());
    session.arm();
  });
  session.close();
  return { local: session.local, results };
}

async function behaviour() {
  const session = await open();
  const found = await new Promise((resolve) => {
    const discovery = new NatDiscovery(discover, {
      ask: (server, now, options) => session.client.ask(server, now, options),
      local: [session.local],
      isUsable: () => true,
      done: resolve,
    });
    session.onResult = (result) => discovery.handleResult(result, performance.now());
    discovery.start(performance.now());
    session.arm();
  });
  session.close();
  return found;
}

const asked = servers.length === 0 ? null : await ask();
const behaves = discover === null ? null : await behaviour();
process.stdout.write(`${JSON.stringify({ asked, behaviour: behaves })}\n`);
