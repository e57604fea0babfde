// Two machines that meet by a relay alone, and the process that is the relay: ours, and Tailscale's with its own daemons. Each as a person
// starts it; what is measured on them is in relay-load.ts.

import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { ask } from '../../src/cli/local-client.ts';
import type { WhyReport } from '../../src/protocol/path-report.ts';
import { WARREN } from '../../test/interop/lib/engines.ts';
import type { Host } from '../../test/interop/lib/lab.ts';
import { untilAnswers } from '../../test/interop/lib/measure.ts';
import { MeshMachine, Program } from '../../test/interop/lib/mesh.ts';
import { cpuSeconds, rssMegabytes } from '../../test/interop/lib/proc.ts';
import { must } from '../../test/interop/lib/shell.ts';
import { until } from '../../test/interop/lib/wait.ts';
import { ADDRESSES, type RelayPlace } from './relay-place.ts';
import type { TailscalePrograms } from './tailscale.ts';

const LIMIT_MS = 60_000;
const MEET_LIMIT_MS = 30_000;
export const WARREN_PORT = 7_370;
export const DERP_PORT = 443;
const CONTROL_PORT = 8_080;

export interface Carrier {
  readonly label: string;
  readonly place: RelayPlace;
  /** Of machine b, inside. */
  readonly address: string;
  readonly relayPid: number;
}

export function relayCpuSeconds({ relayPid }: Carrier): number {
  return cpuSeconds(relayPid);
}

export function relayMegabytes({ relayPid }: Carrier): number {
  return rssMegabytes(relayPid);
}

// — ours —

export interface WarrenCarrier extends Carrier {
  readonly machines: readonly [MeshMachine, MeshMachine];
  /** UDP ports of the two daemons. */
  readonly ports: readonly [number, number];
}

export interface WarrenNetwork {
  readonly relay: Program;
  joinLink(...options: readonly string[]): Promise<string>;
}

/** A controller without a relay inside, and one that stands alone, without the limit on what one node sends. */
export async function startNetwork(
  place: RelayPlace,
  env: Readonly<Record<string, string>>,
  relayArguments: readonly string[] = [],
): Promise<WarrenNetwork> {
  const data = place.lab.path('controller');
  const url = `http://${ADDRESSES.controller}:${WARREN_PORT}`;
  const listening = ['--listen', `0.0.0.0:${WARREN_PORT}`, '--url', url];
  const command = ['controller', '--data', data, ...listening, '--no-relay', '--json'];
  await ready('the controller', new Program(place.controller, command, env));
  const joinLink = async (...options: readonly string[]): Promise<string> => {
    const words = [process.execPath, WARREN, 'keys', 'create', ...options, '--data', data];
    return (await must(words, { timeoutMs: LIMIT_MS })).trim();
  };
  const link = place.lab.file('relay.link', await joinLink('--tag', 'relay'));
  const options = ['--state', place.lab.path('relay'), '--port', `${WARREN_PORT}`, '--public', ADDRESSES.relay];
  const limits = ['--rate', '0', ...relayArguments];
  const relay = new Program(place.relay, ['relay', '--join-file', link, ...options, ...limits, '--json'], env);
  await ready('the relay', relay);
  return { relay, joinLink };
}

export async function startWarren(place: RelayPlace, debug: boolean): Promise<WarrenCarrier> {
  const env = { LOG_LEVEL: debug ? 'debug' : 'error' };
  const network = await startNetwork(place, env);
  const link = await network.joinLink('--reusable');
  const machines: MeshMachine[] = [];
  for (const [name, host, outer] of [
    ['a', place.a, ADDRESSES.a],
    ['b', place.b, ADDRESSES.b],
  ] as const) {
    const machine = new MeshMachine(name, host, join(place.lab.path('.')), outer, ['--idle-timeout', '0']);
    machine.environment = env;
    await machine.start();
    await machine.must('up', '--join', link, '--hostname', name, '--timeout', '60');
    machines.push(machine);
  }
  const [a, b] = machines as [MeshMachine, MeshMachine];
  const [address] = await b.addresses();
  await untilAnswers(a.host, address, MEET_LIMIT_MS);
  const why = await ask<WhyReport>({ socket: a.socket, method: 'GET', path: `/v1/why?peer=${address}` });
  if (why.path?.kind !== 'relay') throw new Error(`the path is ${why.path?.kind ?? 'none'}, and not by the relay`);
  const ports = (await Promise.all(machines.map((one) => one.status()))).map(({ self }) => self.listenPort ?? 0);
  const [portA, portB] = ports as [number, number];
  return { label: 'warren', place, address, relayPid: network.relay.pid, machines: [a, b], ports: [portA, portB] };
}

async function ready(what: string, program: Program): Promise<void> {
  await until(`${what} is ready`, LIMIT_MS, () => {
    if (!program.alive) throw new Error(`${what} ended: ${program.errors}`);
    return program.output.includes('\n');
  });
}

// — Tailscale's —

interface TailscaleStatus {
  readonly Peer: Readonly<Record<string, { readonly CurAddr: string; readonly Relay: string }>>;
}

/** A child with all that it said, for messages. */
class Child {
  readonly process: ChildProcess;
  output = '';

  constructor(host: Host, command: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.process = host.start(command, { env });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output = (this.output + text).slice(-8_192);
      });
    }
  }

  async until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
    await until(what, LIMIT_MS, async () => {
      if (this.process.exitCode !== null) throw new Error(`not ${what}: ${this.output}`);
      return await holds();
    });
  }
}

/** The relay alone, over TLS with a certificate of its own making, as it is run anywhere. Gives its pid. */
export async function startDerper(place: RelayPlace, { derper }: TailscalePrograms): Promise<number> {
  const command = [derper, '-c', place.lab.path('derper.json'), '-a', `:${DERP_PORT}`, '-http-port', '-1'];
  const certificate = ['-certmode', 'manual', '-certdir', place.lab.path('.'), '-hostname', ADDRESSES.relay];
  const child = new Child(place.relay, [...command, ...certificate]);
  await child.until('derper listens', async () => {
    const { stdout } = await place.relay.run(['ss', '-ltnH', `sport = :${DERP_PORT}`]);
    return stdout.includes(`:${DERP_PORT}`);
  });
  return child.process.pid ?? 0;
}

export async function startTailscale(place: RelayPlace, programs: TailscalePrograms): Promise<Carrier> {
  const relayPid = await startDerper(place, programs);
  const url = `http://${ADDRESSES.controller}:${CONTROL_PORT}`;
  const listen = `${ADDRESSES.controller}:${CONTROL_PORT}`;
  const control = new Child(place.controller, [programs.peer, 'control', listen, url, ADDRESSES.relay, `${DERP_PORT}`]);
  await control.until('the control server listens', () => control.output.includes('ready'));
  // The daemon may write the resolver's file: it is shown one of its own.
  const resolver = place.lab.file('resolv.conf', '');
  const alone = ['unshare', '-m', 'sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"', resolver];
  const sockets: string[] = [];
  for (const [name, host] of [
    ['a', place.a],
    ['b', place.b],
  ] as const) {
    const socket = place.lab.path(`tailscale-${name}.sock`);
    const state = ['--statedir', place.lab.path(`tailscale-${name}`), '--socket', socket, '--no-logs-no-support'];
    const env = { TS_NO_LOGS_NO_SUPPORT: 'true', TS_DISABLE_PORTMAPPER: 'true' };
    const daemon = new Child(host, [...alone, programs.tailscaled, ...state, '--tun', 'tailscale0'], env);
    const ask = [programs.tailscale, '--socket', socket];
    await daemon.until('tailscaled answers', async () => (await host.run([...ask, 'status', '--json'])).code === 0);
    const options = ['--accept-dns=false', '--netfilter-mode=off', '--hostname', name, '--timeout', '60s'];
    await host.must([...ask, 'up', '--login-server', url, ...options], { timeoutMs: LIMIT_MS + 10_000 });
    sockets.push(socket);
  }
  const [socketA, socketB] = sockets as [string, string];
  const address = (await place.b.must([programs.tailscale, '--socket', socketB, 'ip', '-4'])).trim();
  await untilAnswers(place.a, address, MEET_LIMIT_MS);
  const status = await place.a.must([programs.tailscale, '--socket', socketA, 'status', '--json']);
  const peers = Object.values((JSON.parse(status) as TailscaleStatus).Peer);
  if (!peers.every(({ CurAddr }) => CurAddr === '')) throw new Error('Tailscale has found a direct path');
  return { label: 'tailscale', place, address, relayPid };
}
