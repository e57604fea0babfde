// The daemon's log: one line per event on standard error, `LEVEL what key=value …`, quiet unless LOG_LEVEL asks. Never for
// keys, never per packet. Leaves out times (journald and most collectors stamp lines themselves) and files.

import { writeSync } from 'node:fs';

export type LogLevel = 'silent' | 'error' | 'debug';
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export interface Log {
  /** Something that a person asked for does not work. */
  error(what: string, fields?: LogFields): void;
  /** What the daemon does, for someone who watches it (`LOG_LEVEL=debug` or `verbose`). */
  debug(what: string, fields?: LogFields): void;
}

/** LOG_LEVEL as other userspace WireGuards have it; unset or unknown means errors only. */
export function parseLogLevel(value: string | undefined): LogLevel {
  switch (value) {
    case 'silent':
      return 'silent';
    case 'verbose':
    case 'debug':
      return 'debug';
    default:
      return 'error';
  }
}

/** `write` gets whole lines with their LF. */
export function createLog(level: LogLevel, write: (line: string) => void = writeToStderr): Log {
  const put = (name: string, what: string, fields: LogFields = {}): void => {
    const pairs = Object.entries(fields)
      .filter(([, value]) => value !== null)
      .map(([key, value]) => ` ${key}=${quoted(String(value))}`);
    write(`${name} ${what}${pairs.join('')}\n`);
  };
  return {
    error: (what, fields) => {
      if (level !== 'silent') put('error', what, fields);
    },
    debug: (what, fields) => {
      if (level === 'debug') put('debug', what, fields);
    },
  };
}

/** Bare when it reads as one word, else as a JSON string: a value can neither end its line nor pass for another field. */
function quoted(value: string): string {
  return /^[^\s"=\p{Cc}]+$/u.test(value) ? value : JSON.stringify(value);
}

/** A reader that is gone or does not read (EPIPE, EAGAIN) must not stop a tunnel: the line is lost. */
function writeToStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // There is nowhere left to tell it.
  }
}
