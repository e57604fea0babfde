// From `warren up` to the first answered ping on one LAN, both nodes new at the same moment, and the first packet to an idle
// peer beside the round trip of its handshake.

import type { Status } from '../../src/protocol/local-api.ts';
import type { Lab } from '../../test/interop/lib/lab.ts';
import { Controller } from './controller.ts';
import { Node } from './node.ts';

/** Host number of the first node in a network. */
const FIRST_HOST = 2;

export interface FirstPing {
  /** From the start of `warren up` on both to the first answer, ms, each round. */
  readonly bothNewMs: readonly number[];
  /** `warren up` alone, until it returns. */
  readonly upMs: readonly number[];
  /** First ping to an idle peer, and the next one, ms. */
  readonly idleMs: readonly { readonly first: number; readonly next: number }[];
}

/** One round: a fresh controller and two fresh nodes. */
export async function measureFirstPing(lab: Lab, round: number, directory: string): Promise<FirstPing> {
  const hosts = {
    controller: await lab.host(`c${round}`),
    a: await lab.host(`a${round}`),
    b: await lab.host(`b${round}`),
  };
  await lab.bridge(`lan${round}`, [
    { host: hosts.controller, device: 'eth0', addresses: ['10.99.0.1/24'] },
    { host: hosts.a, device: 'eth0', addresses: ['10.99.0.2/24'] },
    { host: hosts.b, device: 'eth0', addresses: ['10.99.0.3/24'] },
  ]);
  const controller = new Controller(hosts.controller, '10.99.0.1', `${directory}/controller${round}`);
  await controller.start();
  const link = await controller.joinLink();
  const a = new Node(hosts.a, `a${round}`, directory);
  const b = new Node(hosts.b, `b${round}`, directory);
  await Promise.all([a.start(), b.start()]);

  const started = performance.now();
  const since = (): number => performance.now() - started;
  const up = async (node: Node): Promise<{ ms: number; own: string }> => {
    const text = await node.must(['up', '--join', link, '--hostname', node.name, '--json']);
    const status = JSON.parse(text) as Status;
    return { ms: since(), own: status.self.addresses[0] as string };
  };
  // As soon as its own command returns, one end pings the other, whether that is there yet or not.
  const upB = up(b);
  const upA = await up(a);
  await untilFirstAnswer(a, neighbour(upA.own));
  const bothNewMs = since();
  const ups = [upA.ms, (await upB).ms];

  const idleMs: { first: number; next: number }[] = [];
  const [peer] = (await a.must(['ip', b.name])).trim().split('\n');
  for (let i = 0; i < 5; i++) {
    await Promise.all([a.must(['peers', 'flush', b.name]), b.must(['peers', 'flush', a.name])]);
    const { stdout } = await a.host.run(['ping', '-n', '-c', '2', '-i', '0.2', '-W', '5', peer as string]);
    const [first, next] = [...stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
    if (first !== undefined && next !== undefined) idleMs.push({ first, next });
  }
  return { bothNewMs: [bothNewMs], upMs: ups, idleMs };
}

/** Addresses are given in order: of two nodes the other has the next or the one before. */
function neighbour(address: string): string {
  const parts = address.split('.').map(Number);
  parts[3] = (parts[3] as number) % 2 === FIRST_HOST % 2 ? (parts[3] as number) + 1 : (parts[3] as number) - 1;
  return parts.join('.');
}

/** A ping every 10 ms until one is answered. */
async function untilFirstAnswer(node: Node, address: string): Promise<void> {
  const child = node.host.start(['ping', '-n', '-i', '0.01', '-c', '3000', '-w', '30', address]);
  try {
    await new Promise<void>((resolve, reject) => {
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        if (text.includes('time=')) resolve();
      });
      child.once('exit', () => reject(new Error(`${address} did not answer in 30 s`)));
    });
  } finally {
    child.kill('SIGKILL');
  }
}
