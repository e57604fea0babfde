// The log of a process: one line per event on standard error, `LEVEL what key=value …`. Quiet: what goes wrong, and with
// LOG_LEVEL=info or debug what happens. Never for keys, never per message. Leaves out times: journald stamps lines itself.

import { writeSync } from 'node:fs';

const LEVELS = ['silent', 'error', 'info', 'debug'] as const;
export type LogLevel = (typeof LEVELS)[number];
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export interface Log {
  /** Something does not work. */
  error(what: string, fields?: LogFields): void;
  info(what: string, fields?: LogFields): void;
  debug(what: string, fields?: LogFields): void;
}

/** Unset or unknown means errors only. */
export function parseLogLevel(value: string | undefined): LogLevel {
  if (value === 'verbose') return 'debug';
  return LEVELS.find((level) => level === value) ?? 'error';
}

/** `write` gets whole lines with their LF. */
export function createLog(level: LogLevel, write: (line: string) => void = writeToStderr): Log {
  const at = (name: LogLevel) => {
    const shown = LEVELS.indexOf(name) <= LEVELS.indexOf(level);
    return (what: string, fields: LogFields = {}): void => {
      if (!shown) return;
      const pairs = Object.entries(fields)
        .filter(([, value]) => value !== null)
        .map(([key, value]) => ` ${key}=${quoted(String(value))}`);
      write(`${name} ${what}${pairs.join('')}\n`);
    };
  };
  return { error: at('error'), info: at('info'), debug: at('debug') };
}

/** Bare when it reads as one word, else as a JSON string: a value can neither end its line nor pass for another field. */
function quoted(value: string): string {
  return /^[^\s"=\p{Cc}]+$/u.test(value) ? value : JSON.stringify(value);
}

/** A reader that is gone or does not read must not stop a network: the line is lost. */
function writeToStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // There is nowhere left to tell it.
  }
}
