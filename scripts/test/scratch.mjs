// A directory of its own for one test, filled with files, removed when the test ends, also when it fails.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';

/** `files`: path below the new directory → content. Returns the directory. */
export function scratch(name, files = {}) {
  const directory = mkdtempSync(join(tmpdir(), `warren-test-${name}-`));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), content);
  }
  return directory;
}
