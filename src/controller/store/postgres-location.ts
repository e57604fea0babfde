// A postgres:// URL as settings of the connection, and as text for messages: never with the password. What the URL leaves
// out comes from PGUSER, PGPASSWORD, PGPASSFILE and the like, as in every program on libpq.

import pg from 'pg';
import { StoreError } from './store-error.ts';

export interface PostgresLocation {
  /** Holds the password: for the connection alone. */
  readonly url: string;
  /** `postgres://user@host:port/database`, for people. */
  readonly shown: string;
}

export function parsePostgresUrl(url: string): PostgresLocation {
  let client: pg.Client;
  try {
    // Reads the URL and the environment, and connects to nothing.
    client = new pg.Client({ connectionString: url });
  } catch {
    // The cause is dropped: its message may quote the URL.
    throw new StoreError({
      code: 'location',
      what: 'the URL of the PostgreSQL database cannot be read',
      why: 'it is not of the form postgres://USER@HOST:PORT/DATABASE',
      help: 'write special characters in a password as %XX, or leave it out and set PGPASSWORD or PGPASSFILE',
    });
  }
  const { user = '', host, port, database = '' } = client;
  const at = user === '' ? '' : `${encodeURIComponent(user)}@`;
  const shown = host.startsWith('/') ? `${at}/${database}?host=${host}` : `${at}${host}:${port}/${database}`;
  return { url, shown: `postgres://${shown}` };
}
