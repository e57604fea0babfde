// Runs commands for the interop tests and the bench: bounded in time, output captured, optionally inside a network
// namespace. Nothing goes through a shell, so no name or key needs quoting. Long-running children are in lab.ts.

import { type ChildProcess, spawn } from 'node:child_process';

export interface RunOptions {
  /** Network namespace to run in; absent = where we are. */
  readonly netns?: string;
  /** The command is killed and counts as failed after this; 20 s unless told. */
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Children of `start` read nothing unless told. */
  readonly stdin?: 'ignore' | 'pipe';
}

export interface RunResult {
  /** Exit code; 128 + signal number as a shell has it; 124 when the time limit ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The argument vector that runs `command` inside `netns`. `ip netns exec` replaces itself, so the pid is the command's. */
export function inNamespace(netns: string | undefined, command: readonly string[]): readonly string[] {
  return netns === undefined ? command : ['ip', 'netns', 'exec', netns, ...command];
}

export function start(command: readonly string[], options: RunOptions = {}): ChildProcess {
  const [program, ...args] = inNamespace(options.netns, command);
  if (program === undefined) throw new Error('empty command');
  return spawn(program, args, {
    stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  });
}

/** Runs to the end; a failing exit code is a result, not an error. */
export function run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = start(command, options);
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, options.timeoutMs ?? 20_000);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code: timedOut ? 124 : (code ?? (signal === null ? 1 : 128)), stdout, stderr });
    });
  });
}

/** Runs to the end and gives standard output; throws with everything the command said when it fails. */
export async function must(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(command, options);
  if (result.code !== 0) {
    const where = options.netns === undefined ? '' : ` in ${options.netns}`;
    throw new Error(
      `\`${command.join(' ')}\`${where} ended with ${result.code}: ${result.stderr}${result.stdout}`.trim(),
    );
  }
  return result.stdout;
}

/** Whether a program of this name is on the PATH. */
export async function hasProgram(name: string): Promise<boolean> {
  return (await run(['sh', '-c', 'command -v "$0" >/dev/null', name])).code === 0;
}
