// Running other programs: output captured into a log file, elapsed time on a terminal, a time limit, and a clean end of
// the whole process group. Used by the set-up and by the test runner; only Node's own modules.

import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Long enough for a test to remove the namespaces that it made. */
const GRACE_MS = 15_000;

/** Process groups that we started and that have not ended yet. */
const running = new Set();

/** Kills one process group that we started; it may be gone already. */
function killGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/** On Ctrl-C or termination nothing that we started is left behind. */
export function endChildrenOnSignals() {
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ]) {
    process.once(signal, () => {
      for (const pid of running) killGroup(pid, 'SIGTERM');
      process.exit(128 + number);
    });
  }
}

/**
 * Runs `command` and resolves with `{ code, seconds, timedOut }`; never rejects. `code` is 127 when it could not be
 * started. With `log` both output streams go to that file, otherwise to ours. A run over `limitSeconds` is ended with
 * SIGTERM, some seconds later with SIGKILL; what it left running in its group ends with it.
 */
export function run(command, args, { cwd, env = process.env, log, limitSeconds = 0 } = {}) {
  return new Promise((resolve) => {
    const start = performance.now();
    let file = 'inherit';
    if (log !== undefined) {
      mkdirSync(dirname(log), { recursive: true });
      file = openSync(log, 'a');
    }
    // A group of its own, so that a compiler below make below npm ends too. What is shown on the terminal stays in our
    // group: a background group that reads from the terminal would be stopped.
    const detached = log !== undefined;
    const child = spawn(command, args, { cwd, env, detached, stdio: [detached ? 'ignore' : 'inherit', file, file] });
    if (detached) closeSync(file);
    const pid = child.pid;
    if (detached && pid !== undefined) running.add(pid);

    let timedOut = false;
    const end = (signal) => (detached ? killGroup(pid, signal) : child.kill(signal));
    const timers = [];
    if (limitSeconds > 0 && pid !== undefined) {
      timers.push(
        setTimeout(() => {
          timedOut = true;
          end('SIGTERM');
          timers.push(setTimeout(() => end('SIGKILL'), GRACE_MS));
        }, limitSeconds * 1000),
      );
    }
    const finish = (code) => {
      for (const timer of timers) clearTimeout(timer);
      if (running.delete(pid)) killGroup(pid, 'SIGTERM');
      resolve({ code, seconds: (performance.now() - start) / 1000, timedOut });
    };
    child.once('error', (error) => {
      if (pid === undefined) process.stderr.write(`could not start ${command}: ${error.message}\n`);
      finish(127);
    });
    child.once('close', (code, signal) => finish(code ?? (signal === null ? 1 : 128)));
  });
}

/** The last `count` lines of a log, without terminal control sequences. */
export function tail(log, count) {
  let text;
  try {
    text = readFileSync(log, 'utf8');
  } catch {
    return [];
  }
  const lines = text.split('\n').map((line) => stripControl(line.slice(line.lastIndexOf('\r') + 1)).trimEnd());
  while (lines.at(-1) === '') lines.pop();
  return lines.slice(-count);
}

function stripControl(line) {
  let out = '';
  for (let i = 0; i < line.length; i++) {
    const code = line.charCodeAt(i);
    if (code === 0x1b && line[i + 1] === '[') {
      i += 2;
      while (i < line.length && (line.charCodeAt(i) < 0x40 || line.charCodeAt(i) > 0x7e)) i++;
    } else if (code >= 32 || code === 9) {
      out += line[i];
    }
  }
  return out;
}
