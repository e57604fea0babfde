// Starts this program again in the background, in a session of its own, and waits until it says that it is ready or why it
// is not. The child gets a pipe as descriptor 3 (WARREN_READY_FD) and writes one JSON line to it; when it ends without, its
// exit says so. Its standard streams are /dev/null unless LOG_LEVEL asks for a log.

import { spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { StartFailure } from '../service/start-error.ts';

const READY_FD = 3;
const READY_LIMIT_MS = 30_000;
const MESSAGE_LENGTH_MAX = 16_384;
/** Descriptors that are passed on: they come behind the pipe, with new numbers. */
const PASSED = ['WG_TUN_FD', 'WG_UAPI_FD'] as const;

/** What the child tells about its start. */
export type StartReport =
  | { readonly ready: true; readonly pid: number; readonly interface: string; readonly socket: string }
  | { readonly ready: false; readonly failure: StartFailure };

export interface BackgroundCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Whether the child writes its log to our standard error. */
  readonly logs: boolean;
  readonly readyLimitMs?: number;
}

/** Resolves when the child is ready, has failed, or has been ended because it was neither in time. */
export async function startInBackground(command: BackgroundCommand): Promise<StartReport> {
  const env: NodeJS.ProcessEnv = { ...command.env, WARREN_READY_FD: String(READY_FD), WG_PROCESS_FOREGROUND: '1' };
  const output = command.logs ? 'inherit' : 'ignore';
  const stdio: ('ignore' | 'inherit' | 'pipe' | number)[] = ['ignore', output, output, 'pipe'];
  for (const name of PASSED) {
    const fd = descriptor(command.env[name]);
    if (fd === null) continue;
    env[name] = String(stdio.length);
    stdio.push(fd);
  }
  const child = spawn(command.file, [...command.args], { cwd: '/', detached: true, env, stdio });
  const pipe = child.stdio[READY_FD] as Readable | undefined;
  if (pipe === undefined || pipe === null)
    return failed('no pipe to the background process', 'see that files can be opened');

  const report = await new Promise<StartReport>((resolve) => {
    let text = '';
    let exit: string | null = null;
    let pipeOver = false;
    const limit = setTimeout(() => {
      child.kill('SIGKILL');
      resolve(
        failed('it was not ready in time and has been ended', 'try it in the foreground (-f) with LOG_LEVEL=debug'),
      );
    }, command.readyLimitMs ?? READY_LIMIT_MS);
    const settle = (): void => {
      const told = parseReport(text);
      if (told === null && !(pipeOver && exit !== null)) return;
      clearTimeout(limit);
      resolve(told ?? failed(exit ?? '', 'try it in the foreground (-f) with LOG_LEVEL=debug'));
    };
    pipe.setEncoding('utf8');
    pipe.on('data', (piece: string) => {
      if (text.length < MESSAGE_LENGTH_MAX) text += piece;
      settle();
    });
    const over = (): void => {
      pipeOver = true;
      settle();
    };
    pipe.on('close', over);
    pipe.on('error', over);
    child.on('error', (error) => {
      exit = `it could not be started: ${error.message}`;
      settle();
    });
    child.on('exit', (code, signal) => {
      exit = signal === null ? `it ended with exit code ${code} before it was ready` : `it was ended by ${signal}`;
      settle();
    });
  });
  pipe.destroy();
  child.unref();
  return report;
}

function descriptor(value: string | undefined): number | null {
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : null;
}

function failed(why: string, help: string): StartReport {
  return { ready: false, failure: { what: 'the background process did not start', why, help } };
}

/** The first complete line, or null while there is none. */
function parseReport(text: string): StartReport | null {
  const end = text.indexOf('\n');
  if (end < 0) return null;
  try {
    return JSON.parse(text.slice(0, end)) as StartReport;
  } catch {
    return failed('it said something that is not a report', 'reinstall: the files are of different versions');
  }
}

/** In the child: tells the parent, once. Does nothing when nobody waits. */
export function reportStart(env: NodeJS.ProcessEnv, report: StartReport): void {
  const fd = descriptor(env['WARREN_READY_FD']);
  if (fd === null) return;
  delete env['WARREN_READY_FD'];
  try {
    writeSync(fd, `${JSON.stringify(report)}\n`);
    closeSync(fd);
  } catch {
    // The parent is gone; the interface is there all the same.
  }
}
