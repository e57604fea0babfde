// Amounts of bytes as people write them: `500M`, `20G`, `1T`, powers of ten, as those who sell traffic count it. Whole numbers only; what is
// not one is wrong usage.

import { UsageError } from './command.ts';

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9, T: 1e12 };

/** Null when the option was not given. */
export function byteAmount(option: string, value: string | undefined): number | null {
  if (value === undefined) return null;
  const parts = /^(\d{1,12})([KMGT]?)B?$/i.exec(value);
  const amount = Number(parts?.[1]) * (UNITS[(parts?.[2] ?? '').toUpperCase()] ?? Number.NaN);
  if (parts !== null && Number.isSafeInteger(amount)) return amount;
  throw new UsageError(`--${option} wants bytes, as in 500M, 20G or 1T, not ${JSON.stringify(value)}`);
}
