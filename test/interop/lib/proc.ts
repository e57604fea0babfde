// What /proc says about one process: CPU seconds, resident memory, threads, and how often its threads gave up the CPU
// by themselves (each such switch is a later wake-up). Linux only; the unit of CPU time is USER_HZ = 100.

import { readdirSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;

function statusField(path: string, field: string): number {
  const line = readFileSync(path, 'utf8')
    .split('\n')
    .find((candidate) => candidate.startsWith(`${field}:`));
  if (line === undefined) throw new Error(`${path} has no ${field}`);
  return Number.parseInt(line.slice(field.length + 1), 10);
}

/** Whether the process exists and is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** User and system time of all threads, ended ones included. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command name in parentheses may hold spaces; fields 14 and 15 of proc(5) are counted from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

export function rssMegabytes(pid: number): number {
  return statusField(`/proc/${pid}/status`, 'VmRSS') / 1024;
}

export function threadCount(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).length;
}

/** Voluntary context switches of all threads alive now: rises by one each time a thread went to sleep. */
export function voluntarySwitches(pid: number): number {
  let total = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    total += statusField(`/proc/${pid}/task/${task}/status`, 'voluntary_ctxt_switches');
  }
  return total;
}

/** How often the first thread, in Node the one that runs JavaScript, was put on a CPU. */
export function mainThreadRuns(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').trim().split(' ')[2]);
}
