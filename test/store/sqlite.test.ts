// SQLite through the common suite.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { openStore } from '../../src/controller/store/open.ts';
import { describeStore } from './store-suite.ts';

describeStore('SQLite', () => {
  const directory = mkdtempSync(join(tmpdir(), 'warren-store-suite-'));
  return Promise.resolve({
    open: () => openStore(directory),
    countRows: (table) => {
      const connection = new Database(join(directory, 'warren.db'), { readonly: true });
      try {
        return Promise.resolve(Number(connection.prepare(`select count(*) from ${table}`).pluck().get()));
      } finally {
        connection.close();
      }
    },
    remove: () => Promise.resolve(rmSync(directory, { recursive: true, force: true })),
  });
});
