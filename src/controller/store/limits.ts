// Limits of the stores, in one place. How much of the history of operations is kept is the model's (LOGGED_OPS_MAX).
// What a record may hold is limited by the schemas that it passed.

/** Older audit records are dropped: about 200 MB. */
export const AUDIT_RECORDS_MAX = 1_000_000;
/** Of one page. */
export const AUDIT_PAGE_MAX = 1_000;
/** Rows over a table's limit that wait until they are dropped together: about a millisecond's work. */
export const TRIM_BATCH = 1_000;
/** Commits that wait for the one under way. The core makes one at a time; more than this is a bug or a dead server. */
export const COMMITS_WAITING_MAX = 256;

/** SQLite: how long a start waits for a controller that is just stopping. */
export const LOCK_WAIT_MS = 3_000;
export const LOCK_RETRY_MS = 50;
/** SQLite: the write-ahead log is folded into the database at this many pages (4 KiB each), and its file cut to the size below. */
export const WAL_PAGES_MAX = 2_000;
export const WAL_BYTES_KEPT_MAX = 64 * 1024 * 1024;
/** SQLite: pages copied per turn of the event loop while a backup runs. */
export const BACKUP_PAGES_PER_TURN = 128;

/** PostgreSQL. */
export const CONNECTIONS_MAX = 4;
export const CONNECT_TIMEOUT_MS = 10_000;
export const QUERY_TIMEOUT_MS = 30_000;
/** Rows of one INSERT; times 18 columns it stays far below the 65,535 parameters of one statement. */
export const ROWS_PER_INSERT_MAX = 500;
/** After a connection broke while committing: how often the outcome is asked for, and the pause between. */
export const OUTCOME_ATTEMPTS_MAX = 10;
export const OUTCOME_PAUSE_MS = 500;
