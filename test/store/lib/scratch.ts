// A directory of its own for one test, removed when the test ends, also when it fails.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export function scratch(name: string): string {
  const directory = mkdtempSync(join(tmpdir(), `warren-store-${name}-`));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
