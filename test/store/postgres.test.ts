// PostgreSQL through the common suite, on a server of our own, and what only it has: other controllers on the same
// database, connections that break, and a URL with a password in it.

import { mkdtempSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { isPostgresUrl, openStore } from '../../src/controller/store/open.ts';
import { openPostgresStore, type PostgresOptions } from '../../src/controller/store/postgres-store.ts';
import { StoreError } from '../../src/controller/store/store-error.ts';
import { CLUSTER_PASSWORD, CLUSTER_USER, Cluster, whyNoCluster } from './lib/cluster.ts';
import { CuttingProxy } from './lib/cutting-proxy.ts';
import { node, numbers, op, PRIVATE_KEY, putNode, putOp, settings } from './lib/records.ts';
import { describeStore } from './store-suite.ts';

const WHY_NOT = whyNoCluster();
if (WHY_NOT !== null) process.stderr.write(`${WHY_NOT}\n`);

describe.skipIf(WHY_NOT !== null)(`on a real server${WHY_NOT === null ? '' : `: ${WHY_NOT}`}`, () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start();
  });
  afterAll(() => cluster?.remove());

  describeStore('PostgreSQL', async () => {
    const database = await cluster.createDatabase();
    return {
      open: () => openStore(cluster.url(database)),
      countRows: async (table) => {
        const { rows } = await cluster.query(`select count(*)::int as count from warren.${table}`, database);
        return rows[0].count;
      },
      remove: () => cluster.dropDatabase(database),
    };
  });

  describe('the lock of a controller that runs', () => {
    let database: string;
    beforeEach(async () => {
      database = await cluster.createDatabase();
    });

    async function open(options: PostgresOptions = {}) {
      const store = await openPostgresStore(cluster.url(database), options);
      onTestFinished(() => store.close());
      return store;
    }

    /** Ends the connection that holds it, as a restart of the server does; gone when it resolves. */
    async function loseLock(): Promise<void> {
      const held = `from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = '${database}')`;
      const { rowCount } = await cluster.query(`select pg_terminate_backend(pid) ${held}`);
      expect(rowCount).toBe(1);
      await expect.poll(async () => (await cluster.query(`select 1 ${held}`)).rowCount).toBe(0);
    }

    test('refuses a second one, which is told who has it, before it touches the tables', async () => {
      await open();
      await cluster.query('drop schema warren cascade', database);
      await expect(open({ lockWaitMs: 200 })).rejects.toMatchObject({
        code: 'locked',
        what: `postgres://${CLUSTER_USER}@/${database}?host=${cluster.directory} is in use`,
        why: `warren controller, process ${process.pid} on ${hostname()} has it`.replace(
          /^(.{63}).*( has it)$/,
          '$1$2',
        ),
        help: expect.stringContaining('stop the other one'),
      });
      const { rows } = await cluster.query("select to_regclass('warren.node') as found", database);
      expect(rows).toEqual([{ found: null }]);
    });

    test('is waited for while the other one stops, and is of one database', async () => {
      const first = await openPostgresStore(cluster.url(database));
      const second = open();
      const elsewhere = await cluster.createDatabase();
      await (await openPostgresStore(cluster.url(elsewhere))).close();
      await first.close();
      await (await second).initialize(settings(), PRIVATE_KEY);
    });

    test('is taken again when its connection was lost', async () => {
      const store = await open();
      await store.initialize(settings(), PRIVATE_KEY);
      await loseLock();
      await store.commit([putNode(node(1))]);
      await expect(open({ lockWaitMs: 0 })).rejects.toMatchObject({ code: 'locked' });
      expect((await store.load())?.nodes).toEqual([node(1)]);
    });

    test('goes to another while its connection is lost: nothing is written any more, and it says so', async () => {
      const first = await open();
      await first.initialize(settings(), PRIVATE_KEY);
      await loseLock();
      const second = await open();
      await expect(first.commit([putNode(node(1))])).rejects.toMatchObject({
        code: 'superseded',
        why: expect.stringContaining('has taken'),
        help: expect.stringContaining('run one controller'),
      });
      await second.load();
      await second.commit([putNode(node(2))]);
      expect((await second.load())?.nodes).toEqual([node(2)]);
    });

    test('is not needed to see what a killed controller’s last commit came to: that is waited for', async () => {
      const store = await open();
      await store.initialize(settings(), PRIVATE_KEY);
      // As the server is at it: the row is written, the commit is not done.
      const dying = new pg.Client(cluster.url(database));
      await dying.connect();
      onTestFinished(() => dying.end());
      await dying.query('begin');
      await dying.query("update warren.writer set generation = generation + 1, token = 'of the dead' where id = 1");
      const loading = store.load();
      await expect
        .poll(async () => (await cluster.query('select 1 from pg_locks where not granted')).rowCount)
        .toBeGreaterThan(0);
      await dying.query('commit');
      await loading;
      await store.commit([putNode(node(1))]);
    });
  });

  describe('one database and several controllers', () => {
    let database: string;
    beforeEach(async () => {
      database = await cluster.createDatabase();
    });

    async function open() {
      const store = await openPostgresStore(cluster.url(database), { alone: false });
      onTestFinished(() => store.close());
      return store;
    }

    test('a commit is refused when another controller has written since, and nothing of it is stored', async () => {
      const first = await open();
      await first.initialize(settings(), PRIVATE_KEY);
      const second = await open();
      await second.load();
      await second.commit([putNode(node(2))]);
      await expect(first.commit([putNode(node(1))])).rejects.toMatchObject({
        code: 'superseded',
        why: expect.stringContaining('another controller has written'),
        help: expect.stringContaining('restart this one'),
      });
      expect((await second.load())?.nodes).toEqual([node(2)]);
      // Who reads what the other wrote may go on.
      await first.load();
      await first.commit([putNode(node(1))]);
      await expect(second.commit([putNode(node(3))])).rejects.toMatchObject({ code: 'superseded' });
      expect((await first.load())?.nodes).toEqual([node(1), node(2)]);
    });

    test('of many that write at once, each round has one winner', async () => {
      const stores = await Promise.all(numbers(1, 4).map(() => open()));
      await stores[0]?.initialize(settings(), PRIVATE_KEY);
      for (let round = 1; round <= 10; round++) {
        await Promise.all(stores.map((store) => store.load()));
        const results = await Promise.allSettled(
          stores.map((store, i) => store.commit([putNode(node(round * 10 + i))])),
        );
        expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
        expect((await stores[0]?.load())?.nodes).toHaveLength(round);
      }
    });

    test('two that start at once on an empty database make one network', async () => {
      const stores = await Promise.all(numbers(1, 4).map(() => open()));
      const results = await Promise.allSettled(
        stores.map((store, i) => store.initialize(settings({ networkName: `n${i}` }), PRIVATE_KEY)),
      );
      const refused = results.filter((result) => result.status === 'rejected');
      expect(refused).toHaveLength(3);
      for (const { reason } of refused) expect(reason).toMatchObject({ code: 'alreadyInitialized' });
      const winner = results.findIndex(({ status }) => status === 'fulfilled');
      for (const store of stores) expect((await store.load())?.settings.networkName).toBe(`n${winner}`);
    });
  });

  describe('a server that goes away', () => {
    test('commits fail with what to do, and work again when it is back', async () => {
      const own = await Cluster.start();
      onTestFinished(() => own.remove());
      const store = await openStore(own.url('postgres'));
      onTestFinished(() => store.close());
      await store.initialize(settings(), PRIVATE_KEY);
      await store.commit([putNode(node(1))]);
      await own.stopServer('immediate');
      await expect(store.commit([putNode(node(2))])).rejects.toMatchObject({
        code: 'unreachable',
        what: expect.stringContaining(`postgres://${CLUSTER_USER}@`),
        help: expect.stringContaining('see whether the server runs'),
      });
      await own.startServer();
      await store.commit([putNode(node(3))]);
      expect((await store.load())?.nodes).toEqual([node(1), node(3)]);
    });

    test('connections ended under load: what was acknowledged is there, what failed is not', async () => {
      const database = await cluster.createDatabase();
      const store = await openStore(cluster.url(database));
      onTestFinished(() => store.close());
      await store.initialize(settings(), PRIVATE_KEY);
      const stored: number[] = [];
      const isDone = { value: false };
      const writing = (async () => {
        for (let n = 1; !isDone.value; n++) {
          try {
            await store.commit([putNode(node(n)), putOp(op(n))]);
            stored.push(n);
          } catch (error) {
            expect(error).toMatchObject({ code: 'unreachable' });
          }
        }
      })();
      for (let i = 0; i < 30; i++) {
        const before = stored.length;
        await expect.poll(() => stored.length, { interval: 1 }).toBeGreaterThan(before + 3);
        await cluster.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${database}' and application_name = 'warren'`,
        );
      }
      isDone.value = true;
      await writing;
      const state = await store.load();
      expect(state?.nodes.map(({ id }) => id)).toEqual(stored);
      expect(state?.log.map(({ seq }) => seq)).toEqual(stored);
    }, 60_000);
  });

  describe('a connection that breaks while committing', () => {
    async function throughProxy() {
      const directory = mkdtempSync('/tmp/warren-pg-proxy-');
      onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
      const database = await cluster.createDatabase();
      const proxy = await CuttingProxy.start(directory, cluster.directory);
      onTestFinished(() => proxy.close());
      const store = await openStore(cluster.url(database).replace(cluster.directory, directory));
      onTestFinished(() => store.close());
      await store.initialize(settings(), PRIVATE_KEY);
      return { proxy, store, database };
    }

    test('after the server has committed: the commit is acknowledged, and the next ones work', async () => {
      const { proxy, store } = await throughProxy();
      for (const n of numbers(1, 5)) {
        proxy.cutNext('after commit');
        await store.commit([putNode(node(n))]);
        await store.commit([putOp(op(n))]);
      }
      expect(proxy.cuts).toBe(5);
      const state = await store.load();
      expect(state?.nodes).toHaveLength(5);
      expect(state?.log).toHaveLength(5);
    });

    test('before the server has committed: the commit is refused, nothing is stored, and the next ones work', async () => {
      const { proxy, store } = await throughProxy();
      proxy.cutNext('before commit');
      await expect(store.commit([putNode(node(1))])).rejects.toMatchObject({ code: 'unreachable' });
      expect(proxy.cuts).toBe(1);
      await store.commit([putNode(node(2))]);
      expect((await store.load())?.nodes).toEqual([node(2)]);
    });

    test('and the server does not come back: that is said, and no later commit is taken', async () => {
      const { proxy, store, database } = await throughProxy();
      proxy.cutNext('after commit, and for good');
      await expect(store.commit([putNode(node(1))])).rejects.toMatchObject({
        code: 'unknownOutcome',
        what: expect.stringContaining('it is not known whether'),
        help: expect.stringContaining('restart the controller'),
      });
      await expect(store.commit([putNode(node(2))])).rejects.toMatchObject({ code: 'unknownOutcome' });
      // The restarted controller sees what became of it.
      await store.close();
      const again = await openStore(cluster.url(database));
      onTestFinished(() => again.close());
      expect((await again.load())?.nodes).toEqual([node(1)]);
    });
  });

  describe('refusals', () => {
    async function refusal(url: string): Promise<StoreError> {
      const error = await openStore(url).then(
        () => null,
        (reason: unknown) => reason,
      );
      if (!(error instanceof StoreError)) throw new Error(`not refused for a person: ${String(error)}`);
      for (const text of [error.message, error.why, error.what, error.help, String(error.stack), String(error.cause)]) {
        expect(text).not.toContain(CLUSTER_PASSWORD);
        expect(text).not.toContain(encodeURIComponent(CLUSTER_PASSWORD));
      }
      return error;
    }

    test('a database that does not exist', async () => {
      expect(await refusal(cluster.url('nothing'))).toMatchObject({
        code: 'unreachable',
        what: `postgres://${CLUSTER_USER}@/nothing?host=${cluster.directory} does not exist`,
        help: expect.stringContaining('createdb'),
      });
    });

    test('a user that is not known', async () => {
      expect(await refusal(cluster.url('postgres', 'stranger'))).toMatchObject({
        code: 'denied',
        why: expect.stringContaining('stranger'),
        help: expect.stringContaining('pg_hba.conf'),
      });
    });

    test('a user that may not make tables', async () => {
      const database = await cluster.createDatabase();
      await cluster.query('create role guest login');
      expect(await refusal(cluster.url(database, 'guest'))).toMatchObject({
        code: 'notWritable',
        help: expect.stringContaining('CREATE'),
      });
    });

    test('a server that is not there', async () => {
      const secret = encodeURIComponent(CLUSTER_PASSWORD);
      expect(await refusal(`postgres://u:${secret}@127.0.0.1:1/db`)).toMatchObject({
        code: 'unreachable',
        what: 'postgres://u@127.0.0.1:1/db cannot be reached',
        why: expect.stringContaining('ECONNREFUSED'),
      });
    });

    test('a URL that cannot be read', async () => {
      const secret = encodeURIComponent(CLUSTER_PASSWORD);
      expect(await refusal(`postgres://u:${secret}@host:port/db`)).toMatchObject({
        code: 'location',
        help: expect.stringContaining('%XX'),
      });
    });

    test('tables of a newer version', async () => {
      const database = await cluster.createDatabase();
      await (await openStore(cluster.url(database))).close();
      await cluster.query("insert into warren.migration values ('0999-future', '')", database);
      expect(await refusal(cluster.url(database))).toMatchObject({
        code: 'newer',
        why: expect.stringContaining('0999-future'),
      });
    });

    test('a backup: pg_dump is the tool', async () => {
      const store = await openStore(cluster.url(await cluster.createDatabase()));
      onTestFinished(() => store.close());
      await expect(store.backup('/tmp/never', () => {})).rejects.toMatchObject({
        code: 'unsupported',
        help: expect.stringContaining('pg_dump'),
      });
    });
  });

  test('a server that acknowledges early is asked not to, for our commits', async () => {
    const database = await cluster.createDatabase();
    await cluster.query(`alter database ${database} set synchronous_commit = off`);
    const store = await openStore(cluster.url(database));
    onTestFinished(() => store.close());
    await store.initialize(settings(), PRIVATE_KEY);
    // The server tells, by a trigger inside the transaction.
    await cluster.query(
      `create table seen (value text);
       create function look() returns trigger language plpgsql as
         $$ begin insert into public.seen values (current_setting('synchronous_commit')); return new; end $$;
       create trigger look after insert on warren.node for each row execute function look()`,
      database,
    );
    await store.commit([putNode(node(1))]);
    expect((await cluster.query('select value from seen', database)).rows).toEqual([{ value: 'on' }]);
  });
});

test('which locations are PostgreSQL', () => {
  expect(['postgres://h/d', 'postgresql:///d', 'POSTGRES://h/d'].map(isPostgresUrl)).toEqual([true, true, true]);
  expect(['/var/lib/postgres', 'postgres', './postgres:'].map(isPostgresUrl)).toEqual([false, false, false]);
});
