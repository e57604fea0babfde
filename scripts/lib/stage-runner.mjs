// Runs stages (see stages.mjs for what one is): two at a time where they do not disturb each other, each reported with its
// result and seconds when it ends; then a table of all; and at the very end the stage that prints for itself. A failed
// stage does not stop the others.

import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { root } from './files.mjs';
import { run, tail } from './process.mjs';

const BESIDE_MAX = 2;
const LINES_OF_FAILURE = 200;
const LINES_OF_SUCCESS = 3;
const STILL_RUNNING_MS = 60_000;

const line = (text = '') => process.stdout.write(`${text}\n`);
const seconds = (value) => `${value.toFixed(1).padStart(7)} s`;
const rule = (text) => line(`── ${text} ${'─'.repeat(Math.max(3, 96 - text.length))}`);

/** Runs a stage's commands one after another; the first that fails ends it, unless they are independent. */
async function runStage(stage, { jobs, log }) {
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  const env = { ...process.env, WARREN_JOBS: String(jobs) };
  if (log !== undefined) {
    rmSync(log, { force: true });
    env.NO_COLOR = '1';
    delete env.FORCE_COLOR;
  }
  let why = '';
  for (const [command, ...args] of stage.commands()) {
    const limitSeconds = Math.max(1, stage.limitSeconds - elapsed());
    const { code, timedOut } = await run(command, args, { cwd: root, env, log, limitSeconds });
    if (timedOut) why = `not done after ${stage.limitSeconds} s`;
    else if (code !== 0) why ||= `exit code ${code}`;
    if (why !== '' && (timedOut || !stage.keepGoing)) break;
  }
  return { ok: why === '', seconds: elapsed(), why };
}

function printResult(stage, result, log) {
  line();
  rule(
    `${stage.name} · ${stage.title} · ${result.ok ? 'ok' : `FAILED (${result.why})`} · ${result.seconds.toFixed(1)} s`,
  );
  const lines = tail(log, result.ok ? LINES_OF_SUCCESS : LINES_OF_FAILURE);
  for (const text of lines) line(`   ${text}`);
  if (!result.ok) line(`   whole output: ${relative(root, log)}`);
}

/** All stages but the last one; resolves with name → result. */
async function runCaptured(stages, logDir) {
  const slots = Math.min(BESIDE_MAX, availableParallelism());
  const jobs = Math.max(1, Math.floor(availableParallelism() / slots));
  const waiting = [...stages];
  const active = new Map();
  const results = new Map();
  const begin = performance.now();

  const ready = (stage) =>
    (stage.after ?? []).every((name) => results.has(name) || !stages.some((s) => s.name === name));
  const fits = (stage) =>
    active.size === 0 || (!stage.alone && active.size < slots && ![...active.keys()].some((s) => s.alone));
  const start = (stage) => {
    const log = join(logDir, `test-${stage.name}.log`);
    const work = runStage(stage, { jobs: stage.alone || stages.length === 1 ? availableParallelism() : jobs, log });
    active.set(
      stage,
      work.then((result) => {
        active.delete(stage);
        results.set(stage.name, result);
        printResult(stage, result, log);
      }),
    );
  };

  const pulse = setInterval(() => {
    const names = [...active.keys()].map((stage) => stage.name).join(', ');
    line(`   … ${((performance.now() - begin) / 1000).toFixed(0)} s, running: ${names}`);
  }, STILL_RUNNING_MS);
  try {
    while (waiting.length > 0 || active.size > 0) {
      // The alone ones last, so that they do not leave a core idle in between.
      const next =
        waiting.find((s) => !s.alone && ready(s) && fits(s)) ??
        waiting.find((s) => s.alone && active.size === 0 && ready(s));
      if (next === undefined) {
        await Promise.race(active.values());
      } else {
        waiting.splice(waiting.indexOf(next), 1);
        start(next);
      }
    }
  } finally {
    clearInterval(pulse);
  }
  return results;
}

function printTable(stages, results, note) {
  line();
  rule('summary');
  for (const stage of stages) {
    const result = results.get(stage.name);
    const state = result === undefined ? note : result.ok ? 'ok' : `FAILED: ${result.why}`;
    const took = result === undefined ? ' '.repeat(9) : seconds(result.seconds);
    line(`   ${stage.name.padEnd(12)} ${took}  ${stage.title.padEnd(50)} ${state}`);
  }
}

/** Resolves with the exit code: 0 when every stage of `chosen` passed. */
export async function runStages(chosen, logDir) {
  const begin = performance.now();
  const total = () => `${((performance.now() - begin) / 1000).toFixed(1)} s`;
  line(`test: ${chosen.length} stages: ${chosen.map((stage) => stage.name).join(', ')}`);
  const last = chosen.find((stage) => stage.last);
  const results = await runCaptured(
    chosen.filter((stage) => stage !== last),
    logDir,
  );
  const failed = () => [...results].filter(([, result]) => !result.ok).map(([name]) => name);
  const verdict = () => (failed().length === 0 ? 'all passed' : `FAILED: ${failed().join(', ')}`);

  if (last === undefined) {
    printTable(chosen, results, '');
    line(`\ntest: ${verdict()} (${total()})`);
  } else {
    if (chosen.length > 1) {
      printTable(chosen, results, 'now');
      line(`\ntest: so far ${verdict()} (${total()}); vitest is the last stage`);
    }
    line();
    rule(`${last.name} · ${last.title}`);
    results.set(last.name, await runStage(last, { jobs: availableParallelism() }));
  }
  return failed().length === 0 ? 0 : 1;
}
