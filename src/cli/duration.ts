// Spans of time as a person writes them (`90s`, `24h`, `1d12h`, `never`) and instants as a person reads them (`in 23 h`,
// `2 d 5 h ago`). Leaves out months: nobody agrees how long one is.

import { UsageError } from './command.ts';
import { ago } from './commands/show.ts';

const SECONDS = { s: 1, m: 60, min: 60, h: 3600, d: 86_400, w: 604_800, y: 31_536_000 } as const;
const SPAN = /^(?:\d{1,9}(?:s|min|m|h|d|w|y))+$/;
const PARTS = /(\d{1,9})(s|min|m|h|d|w|y)/g;
/** What the controller takes: ten years. */
export const DURATION_MAX_S = 315_360_000;

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

/** Seconds, null for `never`, undefined when the option was not given. Throws UsageError. */
export function durationOption(name: string, value: string | undefined): number | null | undefined {
  if (value === undefined) return undefined;
  if (value === 'never') return null;
  const seconds = parseDuration(value);
  if (seconds !== null && seconds >= 1 && seconds <= DURATION_MAX_S) return seconds;
  throw new UsageError(`--${name} wants a time like 30min, 24h, 7d or never, not ${JSON.stringify(value)}`);
}

/** Seconds; null when it is none. */
export function parseDuration(text: string): number | null {
  if (!SPAN.test(text)) return null;
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(PARTS)) seconds += Number(count) * SECONDS[unit as keyof typeof SECONDS];
  return seconds;
}

/** `iso`: ISO 8601, or null, which reads as `none`. */
export function relative(iso: string | null, nowMs: number, none: string): string {
  if (iso === null) return none;
  const ms = nowMs - Date.parse(iso);
  if (ms >= 0) return ago(ms);
  // Rounded up, so that what was given a day a moment ago has a day.
  const ahead = ago(-ms > HOUR_MS ? Math.ceil(-ms / MINUTE_MS) * MINUTE_MS : -ms);
  return ahead === 'now' ? ahead : `in ${ahead.replace(/ ago$/, '')}`;
}
