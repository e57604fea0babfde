// What set-up says while it works: nothing for a step with nothing to do, otherwise the step, what it does, and the
// seconds it took; on a terminal the seconds are counted live. A failure says what, why and what to do next.

import { relative } from 'node:path';
import { logDir, root } from './files.mjs';
import { tail } from './process.mjs';

/** An error for people: what happened, why, and what to do. */
export class SetupError extends Error {
  constructor(what, { why = '', next = '', log } = {}) {
    super(what);
    this.why = why;
    this.next = next;
    this.log = log;
  }
}

export class Report {
  #live = process.stdout.isTTY === true && !process.env.CI;
  /** How many steps had something to do. */
  worked = 0;

  constructor(profile) {
    this.profile = profile;
  }

  line(text) {
    process.stdout.write(`setup (${this.profile}): ${text}\n`);
  }

  /** Runs `work` under a line that counts its seconds. */
  async step(what, work) {
    this.worked++;
    const start = performance.now();
    const seconds = () => ((performance.now() - start) / 1000).toFixed(1);
    let ticker;
    if (this.#live) {
      const draw = () => process.stdout.write(`\rsetup (${this.profile}): ${what} … ${seconds()} s `);
      draw();
      ticker = setInterval(draw, 200);
    } else {
      this.line(`${what} …`);
    }
    try {
      const result = await work();
      if (this.#live) process.stdout.write(`\rsetup (${this.profile}): ${what}: done in ${seconds()} s\x1b[K\n`);
      else this.line(`${what}: done in ${seconds()} s`);
      return result;
    } catch (error) {
      if (this.#live) process.stdout.write('\r\x1b[K');
      this.line(`${what}: FAILED after ${seconds()} s`);
      throw error;
    } finally {
      clearInterval(ticker);
    }
  }

  failure(error) {
    const out = process.stderr;
    out.write(`\nsetup failed: ${error.message}\n`);
    if (!(error instanceof SetupError)) {
      out.write(`${error.stack}\n`);
      return;
    }
    if (error.log !== undefined) {
      const lines = tail(error.log, 30);
      if (lines.length > 0) out.write(`  last lines of ${relative(root, error.log)}:\n    ${lines.join('\n    ')}\n`);
    }
    if (error.why !== '') out.write(`  why:  ${error.why}\n`);
    if (error.next !== '') out.write(`  next: ${error.next}\n`);
  }
}

/** A fresh log file's path for one step. */
export function logFor(step) {
  return `${logDir}/setup-${step}.log`;
}
