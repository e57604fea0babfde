// `kill -9` at any moment, 200 times, under load: while starting, while a network is made, in the middle of commits,
// checkpoints and backups. Afterwards everything that was acknowledged is there, nothing is there by half, and the next
// start goes on. A backup that has its name is whole.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { restoreBackup } from '../../src/controller/store/restore.ts';
import { openSqliteStore } from '../../src/controller/store/sqlite-store.ts';
import { Model } from './lib/batches.ts';
import { compileForNode } from './lib/compile.ts';
import { numbers, op, PRIVATE_KEY } from './lib/records.ts';
import { scratch } from './lib/scratch.ts';

const KILLS = 200;
/** Databases at once: a start keeps one core busy, so cores do not wait for each other's disk. */
const LANES = 4;
/** Of the committer. */
const WAITING_AT_ONCE = 3;

interface Life {
  /** Number of the last commit that was acknowledged; 0 for none. */
  readonly acknowledged: number;
  /** From the start until it was ready to commit; null when it did not get there. */
  readonly readyAfterMs: number | null;
}

async function live(program: string, directory: string, soonMs: number | null): Promise<Life> {
  const child = spawn(process.execPath, [program, directory], { stdio: ['ignore', 'pipe', 'pipe'] });
  const gone = once(child, 'close');
  let output = '';
  let errors = '';
  const start = performance.now();
  let readyAfterMs: number | null = null;
  let ready = () => {};
  const isReady = new Promise<void>((resolve) => {
    ready = resolve;
  });
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (!output.startsWith('ready\n')) return;
    readyAfterMs ??= performance.now() - start;
    ready();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  try {
    if (soonMs === null) {
      await Promise.race([isReady, gone]);
      await sleep(Math.random() * 80);
    } else {
      await sleep(soonMs);
    }
    // Otherwise it ended by itself, which it never does.
    expect(child.exitCode, errors).toBeNull();
  } finally {
    child.kill('SIGKILL');
    await gone;
  }
  expect(errors).toBe('');
  const lines = output.split('\n').slice(0, -1);
  return { acknowledged: Number(lines.at(-1) ?? 0) || 0, readyAfterMs };
}

describe('killed at any moment', () => {
  test(`${KILLS} times`, async () => {
    const base = scratch('kill');
    const program = compileForNode('test/store/lib/committer.ts', join(base, 'program'));
    const counts = { kills: 0, commits: 0, early: 0, unacknowledged: 0, backups: 0 };

    async function lane(name: string): Promise<void> {
      const directory = join(base, name);
      mkdirSync(directory);
      const model = new Model();
      let wasInitialized = false;
      let startMs = 200;
      while (counts.kills < KILLS) {
        counts.kills++;
        // One in four may die before it is ready: at any moment of about as long as the last start took.
        const life = await live(program, directory, counts.kills % 4 === 0 ? Math.random() * 1.2 * startMs : null);
        if (life.readyAfterMs === null) counts.early++;
        else startMs = life.readyAfterMs;
        const store = await openSqliteStore(directory);
        try {
          const state = await store.load();
          if (state === null) {
            // Only who has never got so far may find nothing.
            expect(wasInitialized || life.readyAfterMs !== null).toBe(false);
            continue;
          }
          wasInitialized = true;
          const made = state.settings.nextHost;
          const before = model.n;
          expect(made).toBeGreaterThanOrEqual(Math.max(life.acknowledged, before));
          expect(made).toBeLessThanOrEqual(Math.max(life.acknowledged, before) + WAITING_AT_ONCE);
          counts.commits += made - before;
          if (made > Math.max(life.acknowledged, before)) counts.unacknowledged++;
          model.advanceTo(made);
          expect(state.nodes).toEqual([...model.nodes.values()].sort((a, b) => a.id - b.id));
          expect(state.authKeys).toEqual([...model.authKeys.values()].sort((a, b) => (a.id < b.id ? -1 : 1)));
          expect(state.log.map(({ seq }) => seq)).toEqual(numbers(1, made));
          expect(state.log.at(-1)).toEqual(made === 0 ? undefined : op(made));
          expect((await store.audit(null, 1)).records[0] ?? null).toEqual(model.lastAudit);
          expect(await store.privateKey()).toEqual(PRIVATE_KEY);
        } finally {
          await store.close();
        }
        await checkBackup(directory);
      }
    }

    async function checkBackup(directory: string): Promise<void> {
      const backup = join(directory, 'backup.db');
      for (const name of readdirSync(directory)) if (name.endsWith('.tmp')) rmSync(join(directory, name));
      if (!existsSync(backup)) return;
      counts.backups++;
      const restored = join(directory, 'restored');
      await restoreBackup(backup, restored);
      const store = await openSqliteStore(restored);
      const state = await store.load();
      await store.close();
      const model = new Model();
      model.advanceTo(state?.settings.nextHost ?? 0);
      expect(state?.nodes).toEqual([...model.nodes.values()].sort((a, b) => a.id - b.id));
      for (const path of [restored, backup]) rmSync(path, { recursive: true });
    }

    await Promise.all(numbers(1, LANES).map((n) => lane(`lane-${n}`)));
    process.stderr.write(`kill -9: ${JSON.stringify(counts)}\n`);
    // The test was a test: it killed while committing, before it was ready, and during backups.
    expect(counts.kills).toBeGreaterThanOrEqual(KILLS);
    expect(counts.commits).toBeGreaterThan(KILLS);
    expect(counts.early).toBeGreaterThan(5);
    expect(counts.backups).toBeGreaterThan(3);
  }, 300_000);
});
