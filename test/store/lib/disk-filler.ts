// Runs on a file system of a few megabytes that is its own: commits until the disk is full, makes room, commits again, and
// prints as JSON what happened. In its own process, so that the little file system goes with it.

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openStore } from '../../../src/controller/store/open.ts';
import { StoreError } from '../../../src/controller/store/store-error.ts';
import { batch } from './batches.ts';
import { PRIVATE_KEY, settings } from './records.ts';

const COMMITS_MAX = 10_000;

async function fill(directory: string) {
  const ballast = join(directory, 'ballast');
  writeFileSync(ballast, Buffer.alloc(1_000_000));
  const store = await openStore(directory);
  await store.initialize(settings({ nextHost: 0 }), PRIVATE_KEY);
  let last = 0;
  let error: unknown = null;
  while (error === null && last < COMMITS_MAX) {
    try {
      await store.commit(batch(last + 1));
      last++;
    } catch (reason) {
      error = reason;
    }
  }
  const whileFull = await store.load();
  const backup = await store.backup(join(directory, 'backup'), () => {}).catch((reason: unknown) => reason);
  rmSync(ballast);
  await store.commit(batch(last + 1));
  const afterwards = await store.load();
  await store.close();
  const said = (reason: unknown) =>
    reason instanceof StoreError ? { code: reason.code, why: reason.why, help: reason.help } : String(reason);
  return {
    last,
    error: said(error),
    backup: said(backup),
    whileFull: whileFull?.settings.nextHost,
    afterwards: afterwards?.settings.nextHost,
  };
}

process.stdout.write(JSON.stringify(await fill(process.argv[2] as string)));
