// What SQLite and the file system say, as a StoreError with what to do about it. Errors that mean a bug of ours (bad SQL,
// a broken constraint) are not among them and pass as they are.

import { readFileSync, statSync } from 'node:fs';
import { codeOf, messageOf, StoreError, type StoreProblem } from './store-error.ts';

const RESTORE = 'stop the controller and restore a backup: warren controller restore FILE --force';

/** `path`: the database, or the file that was being written. */
export function sqliteError(error: unknown, path: string): unknown {
  if (error instanceof StoreError) return error;
  const problem = problemOf(error, path);
  return problem === null ? error : new StoreError(problem, error);
}

function problemOf(error: unknown, path: string): StoreProblem | null {
  const code = codeOf(error);
  const message = messageOf(error);
  if (code === 'SQLITE_BUSY' || code.startsWith('SQLITE_BUSY_') || code === 'SQLITE_LOCKED') return lockedProblem(path);
  if (code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT')) {
    return { code: 'corrupt', what: `${path} is damaged, or no database`, why: message, help: RESTORE };
  }
  if (code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT') {
    return {
      code: 'full',
      what: `${path} could not be written`,
      why: code === 'EDQUOT' ? 'the disk quota is used up' : 'the disk is full',
      help: 'free some space on that disk; what was stored before is intact',
    };
  }
  if (code.startsWith('SQLITE_IOERR') || code === 'EIO') {
    return {
      code: 'io',
      what: `${path} could not be read or written`,
      why: `the disk reports an error (${code})`,
      help: 'look at the kernel log (dmesg), check the disk, and see that no limit is set on the size of files (ulimit -f)',
    };
  }
  if (isRefusal(code)) {
    return {
      code: 'notWritable',
      what: `${path} cannot be opened for writing`,
      why: message,
      help: `let the user that runs the controller (uid ${process.geteuid?.() ?? '?'}) own the directory and the files in it, or name another with --data`,
    };
  }
  if (code === 'ERR_DLOPEN_FAILED' || /could not locate the bindings file/i.test(message)) {
    return {
      code: 'nativeMissing',
      what: 'SQLite cannot be loaded',
      why: "better-sqlite3's native part is missing, or was built for another Node",
      help: 'node scripts/setup.mjs --for build builds it',
    };
  }
  return null;
}

function isRefusal(code: string): boolean {
  if (code.startsWith('SQLITE_READONLY') || code.startsWith('SQLITE_CANTOPEN') || code === 'SQLITE_PERM') return true;
  return ['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EISDIR', 'ENOENT', 'EEXIST', 'ELOOP', 'ENAMETOOLONG'].includes(code);
}

export function lockedProblem(path: string): StoreProblem {
  const pid = holderOf(path);
  return {
    code: 'locked',
    what: `${path} is in use`,
    why: pid === null ? 'another process has it open' : `process ${pid} has it open`,
    help: 'one controller at a time: stop the other one, or name another directory with --data',
  };
}

/** The process that holds a lock on the file, as the kernel lists them; null when it does not tell. */
function holderOf(path: string): number | null {
  try {
    const { dev, ino } = statSync(path);
    // Linux packs major and minor numbers into `dev`; /proc/locks shows them in hexadecimal.
    const major = (dev >> 8) & 0xfff;
    const minor = (dev & 0xff) | ((dev >> 12) & 0xfff00);
    const hex = (value: number): string => value.toString(16).padStart(2, '0');
    const file = `${hex(major)}:${hex(minor)}:${ino}`;
    for (const line of readFileSync('/proc/locks', 'utf8').split('\n')) {
      const fields = line.trim().split(/\s+/);
      // `1: POSIX ADVISORY WRITE PID MAJOR:MINOR:INODE FROM TO`; a line with `->` waits for the lock.
      const pid = Number(fields[4]);
      if (fields[5] === file && fields[1] !== '->' && pid > 0) return pid;
    }
  } catch {
    // Only a hint; without it the message says less.
  }
  return null;
}
