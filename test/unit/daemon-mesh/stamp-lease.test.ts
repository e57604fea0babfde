// How far our stamps have got, on the disk: read at the next start, a help that may be missing, and nothing to fail for.

import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { WallTime } from '../../../src/base/instant.ts';
import { StampLease } from '../../../src/daemon/mesh/stamp-lease.ts';
import { StateDirectory } from '../../../src/daemon/mesh/state-directory.ts';
import { rememberingLog, temporaryDirectory, until } from '../daemon-fixtures.ts';

const UNTIL = 1_700_000_600_000 as WallTime;

async function lab(path = temporaryDirectory()) {
  const state = await StateDirectory.open(path);
  onTestFinished(() => state.close());
  const { log, lines } = rememberingLog();
  return { path, state, lines, file: join(path, 'stamps.json'), lease: () => new StampLease(state, log) };
}

it('is there at the next start, for the user of the daemon alone', async () => {
  const { state, file, lease } = await lab();
  const first = lease();
  expect(first.until).toBeNull();
  first.keep(UNTIL);
  // At once for a tunnel that is made anew, on the disk soon.
  expect(first.until).toBe(UNTIL);
  await until(() => state.readStamps() !== null);
  expect(lease().until).toBe(UNTIL);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

it.each([
  '',
  '{',
  '{"format":2,"until":5}',
  '{"format":1,"until":-5}',
  '{"format":1,"until":1e300}',
  '{"format":1,"until":"now"}',
])('what cannot be read (%j) counts for nothing', async (text) => {
  const { file, lease } = await lab();
  writeFileSync(file, text);
  expect(lease().until).toBeNull();
});

it('a disk that does not take it is told once for each time, and nothing else', async () => {
  const { file, lines, lease } = await lab();
  // Where the file should go there is a directory with something in it.
  mkdirSync(join(file, 'x'), { recursive: true });
  const kept = lease();
  kept.keep(UNTIL);
  await until(() => lines.length > 0);
  expect(lines).toEqual([expect.stringContaining('cannot remember how far the time stamps have got')]);
  expect(kept.until).toBe(UNTIL);
});
