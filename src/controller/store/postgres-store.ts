// The store on PostgreSQL. Every transaction that writes first counts up the generation in the table `writer`, from the one
// that this controller left there: when another controller has written since, nothing matches and the commit is refused.
// So two controllers cannot overwrite each other unnoticed, and several may one day take turns. When the connection breaks
// while committing, a token in the same row tells afterwards whether it was done.

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { Change, Settings, StoredState } from '../state/model.ts';
import { CommitQueue } from './commit-queue.ts';
import { OUTCOME_ATTEMPTS_MAX, OUTCOME_PAUSE_MS } from './limits.ts';
import { isServerAnswer, postgresError } from './postgres-errors.ts';
import { parsePostgresUrl } from './postgres-location.ts';
import { DatabaseLock } from './postgres-lock.ts';
import { type OpenPostgres, openPostgres, SCHEMA } from './postgres-open.ts';
import { queriesOf } from './postgres-writes.ts';
import { auditPage, extent, loadState } from './queries.ts';
import type { AuditPage, Store } from './store.ts';
import { messageOf, StoreError } from './store-error.ts';
import { alreadyInitialized, closed, notInitialized, ownedKey } from './store-faults.ts';
import { type Extents, trim } from './trim.ts';

export interface PostgresOptions {
  /** Given by tests of the fence: without the lock several may open one database. */
  readonly alone?: boolean;
  readonly lockWaitMs?: number;
}

export async function openPostgresStore(url: string, options: PostgresOptions = {}): Promise<Store> {
  const { alone = true, lockWaitMs } = options;
  const location = parsePostgresUrl(url);
  // Before the tables are looked at: a newer controller must not bring them to its version while an older one runs.
  const lock = alone ? await DatabaseLock.take(location, lockWaitMs) : null;
  let database: OpenPostgres | null = null;
  try {
    database = await openPostgres(location);
    const writer = await database.tables.selectFrom('writer').selectAll().executeTakeFirst();
    const extents = { log: await extent(database.tables, 'log'), audit: await extent(database.tables, 'audit') };
    return new PostgresStore(database, lock, writer?.generation ?? null, extents);
  } catch (error) {
    await database?.pool.end().catch(() => {});
    await lock?.release();
    throw postgresError(error, location.shown);
  }
}

type Work = (client: pg.PoolClient) => Promise<void>;

class PostgresStore implements Store {
  readonly kind = 'postgres';
  readonly #database: OpenPostgres;
  readonly #lock: DatabaseLock | null;
  readonly #queue = new CommitQueue();
  /** As we found or left it; null before `initialize`. */
  #generation: number | null;
  #extents: Extents;
  #broken: StoreError | null = null;
  #closing: Promise<void> | null = null;

  constructor(database: OpenPostgres, lock: DatabaseLock | null, generation: number | null, extents: Extents) {
    this.#database = database;
    this.#lock = lock;
    this.#generation = generation;
    this.#extents = extents;
  }

  /** What this sees is what commits are measured against from then on. */
  load(): Promise<StoredState | null> {
    // In the queue, so that no commit of ours comes between.
    return this.#guarded(() => this.#queue.run(() => this.#loadSnapshot()));
  }

  async initialize(settings: Settings, privateKey: Uint8Array): Promise<void> {
    const key = ownedKey(privateKey);
    try {
      await this.#enqueue(async () => {
        if (this.#generation !== null) throw alreadyInitialized(this.#database.shown);
        const first = 1;
        await this.#transact(first, async (client, token) => {
          // Whoever makes this row first makes the network; a second one waits here and then finds it.
          const text = `insert into ${SCHEMA}.writer (id, generation, token) values (1, $1, $2) on conflict (id) do nothing`;
          const { rowCount } = await client.query(text, [first, token]);
          if (rowCount !== 1) throw alreadyInitialized(this.#database.shown);
          for (const query of queriesOf([{ kind: 'settings', settings }], SCHEMA)) {
            await client.query(query.text, [...query.values]);
          }
          await client.query(`insert into ${SCHEMA}.identity (id, private_key) values (1, $1)`, [key]);
        });
      });
    } finally {
      key.fill(0);
    }
  }

  privateKey(): Promise<Uint8Array> {
    return this.#guarded(async () => {
      const row = await this.#database.tables.selectFrom('identity').select('private_key').executeTakeFirst();
      if (row === undefined) throw notInitialized(this.#database.shown);
      const key = Uint8Array.from(row.private_key);
      row.private_key.fill(0);
      return key;
    });
  }

  commit(changes: readonly Change[]): Promise<void> {
    return this.#enqueue(async () => {
      const generation = this.#generation;
      if (generation === null) throw notInitialized(this.#database.shown);
      const { extents, drops } = trim(this.#extents, changes);
      await this.#transact(generation + 1, async (client, token) => {
        const text = `update ${SCHEMA}.writer set generation = $1, token = $2 where id = 1 and generation = $3`;
        const { rowCount } = await client.query(text, [generation + 1, token, generation]);
        if (rowCount !== 1) throw superseded(this.#database.shown);
        for (const query of queriesOf(changes, SCHEMA)) await client.query(query.text, [...query.values]);
        for (const { table, key, upTo } of drops) {
          await client.query(`delete from ${SCHEMA}.${table} where ${key} <= $1`, [upTo]);
        }
      });
      this.#extents = extents;
    });
  }

  audit(before: number | null, limit: number): Promise<AuditPage> {
    return this.#guarded(() => auditPage(this.#database.tables, before, limit));
  }

  backup(): Promise<void> {
    return Promise.reject(
      new StoreError({
        code: 'unsupported',
        what: 'this controller cannot make the backup',
        why: `its database is PostgreSQL (${this.#database.shown})`,
        help: `pg_dump --schema=${SCHEMA} makes one, while the controller runs; it holds the controller's private key`,
      }),
    );
  }

  close(): Promise<void> {
    this.#closing ??= this.#queue.idle().then(async () => {
      await this.#database.pool.end();
      // Last, so that who waits for it finds all that we have written.
      await this.#lock?.release();
    });
    return this.#closing;
  }

  async #loadSnapshot(): Promise<StoredState | null> {
    // A controller that was killed may have left a commit that the server is still at: it holds this row.
    await this.#database.pool.query(`select 1 from ${SCHEMA}.writer where id = 1 for update`);
    const transaction = this.#database.tables.transaction().setIsolationLevel('repeatable read');
    return await transaction.execute(async (snapshot) => {
      const writer = await snapshot.selectFrom('writer').select('generation').executeTakeFirst();
      const extents = { log: await extent(snapshot, 'log'), audit: await extent(snapshot, 'audit') };
      const state = await loadState(snapshot);
      this.#generation = writer?.generation ?? null;
      this.#extents = extents;
      return state;
    });
  }

  async #enqueue(work: () => Promise<void>): Promise<void> {
    if (this.#closing !== null) throw closed(this.#database.shown);
    await this.#queue.run(async () => {
      if (this.#broken !== null) throw this.#broken;
      try {
        await this.#lock?.hold();
        await work();
      } catch (error) {
        throw postgresError(error, this.#database.shown);
      }
    });
  }

  /** `work` writes `generation` and the token that it is given into the writer's row, besides what it is for. */
  async #transact(generation: number, work: (client: pg.PoolClient, token: string) => Promise<void>): Promise<void> {
    const token = randomBytes(12).toString('base64url');
    const { error, isCommitting } = await this.#attempt((client) => work(client, token));
    if (error !== null) {
      const isInDoubt = isCommitting && !isServerAnswer(error);
      if (!isInDoubt || !(await this.#wasCommitted(token, error))) throw error;
    }
    this.#generation = generation;
  }

  async #attempt(work: Work): Promise<{ error: unknown; isCommitting: boolean }> {
    const client = await this.#database.pool.connect();
    let isCommitting = false;
    try {
      await client.query('begin');
      if (this.#database.mustAskForDurability) await client.query('set local synchronous_commit = on');
      await work(client);
      isCommitting = true;
      await client.query('commit');
      client.release();
      return { error: null, isCommitting };
    } catch (error) {
      // Without a roll-back: ending the connection does that, and works when the connection is the trouble.
      client.release(true);
      return { error: error ?? new Error('unknown'), isCommitting };
    }
  }

  /** Asks until the server answers. The lock waits for the transaction in doubt, should the server still be at it. */
  async #wasCommitted(token: string, cause: unknown): Promise<boolean> {
    for (let attempt = 0; attempt < OUTCOME_ATTEMPTS_MAX; attempt++) {
      try {
        const text = `select token from ${SCHEMA}.writer where id = 1 for update`;
        const { rows } = await this.#database.pool.query<{ token: string }>(text);
        return rows[0]?.token === token;
      } catch (error) {
        if (isServerAnswer(error)) break;
        await sleep(OUTCOME_PAUSE_MS);
      }
    }
    this.#broken = new StoreError(
      {
        code: 'unknownOutcome',
        what: `it is not known whether the last change was stored in ${this.#database.shown}`,
        why: `the connection broke while it was committed (${messageOf(cause)}), and the server has not come back`,
        help: 'when the server is back, restart the controller: it then sees what is stored',
      },
      cause,
    );
    throw this.#broken;
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== null) throw closed(this.#database.shown);
    try {
      return await work();
    } catch (error) {
      throw postgresError(error, this.#database.shown);
    }
  }
}

function superseded(shown: string): StoreError {
  return new StoreError({
    code: 'superseded',
    what: 'the change was not stored',
    why: `another controller has written to ${shown} since this one read it`,
    help: 'run one controller on a database; restart this one to let it read what the other wrote',
  });
}
