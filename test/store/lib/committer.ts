// The process that is killed: opens the store of a directory, makes a network in it when there is none, goes on with the
// numbered commits where they ended, some of them waiting at once, and says each on standard output when it is done. Now
// and then a backup runs beside them. Never ends by itself.

import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { openStore } from '../../../src/controller/store/open.ts';
import { batch } from './batches.ts';
import { PRIVATE_KEY, settings } from './records.ts';

const WAITING_AT_ONCE = 3;
const BACKUP_EVERY = 20;

async function run(directory: string): Promise<never> {
  const store = await openStore(directory);
  let state = await store.load();
  if (state === null) {
    await store.initialize(settings({ nextHost: 0 }), PRIVATE_KEY);
    state = await store.load();
  }
  let next = (state?.settings.nextHost ?? 0) + 1;
  writeSync(1, 'ready\n');
  let isBackingUp = false;
  const go = async (): Promise<never> => {
    for (;;) {
      const n = next++;
      await store.commit(batch(n));
      writeSync(1, `${n}\n`);
      if (n % BACKUP_EVERY === 0 && !isBackingUp) {
        isBackingUp = true;
        store
          .backup(join(directory, 'backup.db'), () => {})
          .then(() => {
            isBackingUp = false;
          });
      }
    }
  };
  return await Promise.race(Array.from({ length: WAITING_AT_ONCE }, go));
}

await run(process.argv[2] as string);
