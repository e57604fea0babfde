// Ten thousand nodes on one controller: how fast they join, how long one node's change takes to all of them, what a restart
// costs, and memory. Controller and fleet are two processes on the same machine.

import { type ChildProcess, fork } from 'node:child_process';
import { cpuSeconds } from '../../test/interop/lib/proc.ts';
import { pass } from '../../test/interop/lib/wait.ts';
import { type Controller, compiled } from './controller.ts';
import type { FleetAnswer, FleetRequest } from './fleet.ts';

const JOINS_IN_FLIGHT = 64;
/** For the last of the crowd to be told to all, before single changes are timed. */
const SETTLE_MS = 10_000;

export interface ControllerScale {
  readonly nodes: number;
  readonly joinsPerSecond: number;
  readonly joinCpuSeconds: number;
  readonly failures: readonly string[];
  /** From the node's change to each other node's having it; of all nodes and all changes. */
  readonly changeMs: { readonly median: number; readonly p99: number; readonly max: number };
  readonly restart: { readonly seconds: number; readonly bytesPerNode: number; readonly worstBytes: number };
  readonly rssMegabytes: { readonly joined: number; readonly afterRestart: number };
}

export class Fleet {
  readonly #child: ChildProcess;
  #waiting: { resolve: (answer: FleetAnswer) => void; reject: (error: Error) => void } | null = null;

  constructor(netns: string) {
    // Inside the controller's namespace, so that all traffic stays on its loopback.
    this.#child = fork(compiled('fleet.js'), {
      execPath: '/usr/bin/env',
      execArgv: ['ip', 'netns', 'exec', netns, process.execPath, '--max-old-space-size=6144'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (answer: FleetAnswer) => {
      this.#waiting?.resolve(answer);
      this.#waiting = null;
    });
    this.#child.on('exit', (code) => {
      this.#waiting?.reject(new Error(`the fleet ended with ${code}`));
      this.#waiting = null;
    });
  }

  ask<K extends FleetAnswer['kind']>(request: FleetRequest, _kind: K): Promise<FleetAnswer & { kind: K }> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve: (answer) => resolve(answer as FleetAnswer & { kind: K }), reject };
      this.#child.send(request);
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

export async function measureController(
  controller: Controller,
  fleet: Fleet,
  nodes: number,
  changes: number,
  say: (text: string) => void,
): Promise<ControllerScale> {
  // Over loopback, where the limits on one source do not hold: the fleet stands for machines of as many addresses.
  const link = (await controller.joinLink()).replace(controller.address, '127.0.0.1');
  const cpuBefore = cpuSeconds(controller.pid);
  const joined = await fleet.ask({ kind: 'join', link, count: nodes, inFlight: JOINS_IN_FLIGHT }, 'joined');
  const joinCpuSeconds = cpuSeconds(controller.pid) - cpuBefore;
  say(
    `  ${nodes} joined in ${joined.seconds.toFixed(1)} s (${(nodes / joined.seconds).toFixed(0)}/s; ${joinCpuSeconds.toFixed(1)} s of CPU in the controller)\n`,
  );
  const rssJoined = controller.rssMegabytes();

  await pass(SETTLE_MS);
  const times: number[] = [];
  for (let i = 0; i < changes; i++) {
    const node = Math.floor((i * nodes) / changes);
    const { milliseconds } = await fleet.ask({ kind: 'change', node, port: 40_000 + i }, 'changed');
    times.push(...milliseconds);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] as number;
  say(`  a change reaches all: median ${at(0.5).toFixed(0)} ms, p99 ${at(0.99).toFixed(0)} ms\n`);

  await fleet.ask({ kind: 'mark' }, 'marked');
  await controller.kill('SIGKILL');
  await controller.start();
  const back = await fleet.ask({ kind: 'reconnected' }, 'reconnected');
  say(
    `  killed and started again: all back after ${back.seconds.toFixed(1)} s, ${back.bytesPerNode.toFixed(0)} bytes each\n`,
  );
  return {
    nodes,
    joinsPerSecond: nodes / joined.seconds,
    joinCpuSeconds,
    failures: joined.failed,
    changeMs: { median: at(0.5), p99: at(0.99), max: at(1) },
    restart: { seconds: back.seconds, bytesPerNode: back.bytesPerNode, worstBytes: back.worstBytes },
    rssMegabytes: { joined: rssJoined, afterRestart: controller.rssMegabytes() },
  };
}
