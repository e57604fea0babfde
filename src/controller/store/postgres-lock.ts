// One controller on a PostgreSQL database at a time: an advisory lock of a session of its own, which the server drops with the
// connection, however that ends. It tells a second controller at its start what is wrong; what keeps the data right, also where the
// lock was lost for a while (the server was restarted, a pooler is in between), is the fence in the writer's row (postgres-store.ts).

import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { CONNECT_TIMEOUT_MS, LOCK_RETRY_MS, LOCK_WAIT_MS, QUERY_TIMEOUT_MS } from './limits.ts';
import { postgresError } from './postgres-errors.ts';
import type { PostgresLocation } from './postgres-location.ts';
import { StoreError } from './store-error.ts';

/** 'WRRN', and which of our locks; of this database alone. */
const LOCK = [0x5752524e, 1] as const;
/** PostgreSQL keeps so many bytes of a name. */
const NAME_BYTES_MAX = 63;
/** A controller whose machine is gone lets go after half a minute. Over a unix socket the kernel tells at once. */
const KEEPALIVE = 'set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 4';

export class DatabaseLock {
  readonly #location: PostgresLocation;
  #client: pg.Client | null = null;

  /** Waits a moment for a controller that is just stopping. Rejects with a StoreError, `locked` when another has it. */
  static async take(location: PostgresLocation, waitMs = LOCK_WAIT_MS): Promise<DatabaseLock> {
    const lock = new DatabaseLock(location);
    const deadline = performance.now() + waitMs;
    for (;;) {
      const holder = await lock.#acquire();
      if (holder === null) return lock;
      if (performance.now() >= deadline) throw locked(location.shown, holder);
      await sleep(LOCK_RETRY_MS * (0.5 + Math.random()));
    }
  }

  private constructor(location: PostgresLocation) {
    this.#location = location;
  }

  /** Before anything is written: takes it again if the connection was lost. Rejects with `superseded` when another was quicker. */
  async hold(): Promise<void> {
    if (this.#client !== null) return;
    const holder = await this.#acquire();
    if (holder !== null) throw takenOver(this.#location.shown, holder);
  }

  async release(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => {});
  }

  /** Null when it is ours, else who has it. */
  async #acquire(): Promise<string | null> {
    const client = new pg.Client({
      connectionString: this.#location.url,
      application_name: ownName(),
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: QUERY_TIMEOUT_MS,
      keepAlive: true,
    });
    // What breaks is found by the next `hold`; nobody listening would end the process.
    client.on('error', () => {});
    try {
      await client.connect();
      await client.query(KEEPALIVE);
      const { rows } = await client.query<{ ours: boolean }>('select pg_try_advisory_lock($1, $2) as ours', [...LOCK]);
      if (rows[0]?.ours === true) {
        client.on('end', () => {
          if (this.#client === client) this.#client = null;
        });
        this.#client = client;
        return null;
      }
      const holder = await holderOf(client);
      await client.end();
      return holder;
    } catch (error) {
      await client.end().catch(() => {});
      throw postgresError(error, this.#location.shown);
    }
  }
}

async function holderOf(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ name: string; address: string | null }>(
    `select application_name as name, client_addr::text as address from pg_stat_activity where pid in
       (select pid from pg_locks where locktype = 'advisory' and granted and classid = $1 and objid = $2
          and database = (select oid from pg_database where datname = current_database()))`,
    [...LOCK],
  );
  const [holder] = rows;
  // It may have let go in between, or be another user's, whose name is not shown to us.
  const name = holder === undefined || holder.name === '' ? 'another controller' : holder.name;
  return holder?.address == null ? name : `${name} from ${holder.address}`;
}

/** As `pg_stat_activity` shows it to an administrator, and we to the next one who wants the lock. */
function ownName(): string {
  const name = `warren controller, process ${process.pid} on ${hostname()}`;
  return Buffer.from(name).subarray(0, NAME_BYTES_MAX).toString();
}

function locked(shown: string, holder: string): StoreError {
  return new StoreError({
    code: 'locked',
    what: `${shown} is in use`,
    why: `${holder} has it`,
    help: 'one controller at a time on a database: stop the other one, or name another database with --database',
  });
}

function takenOver(shown: string, holder: string): StoreError {
  return new StoreError({
    code: 'superseded',
    what: 'the change was not stored',
    why: `${holder} has taken ${shown} over while our connection to it was lost`,
    help: 'run one controller on a database; this one takes its turn when it is started after the other has stopped',
  });
}
