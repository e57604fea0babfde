// The newest wireguard-go from the Go module proxy, where Go is installed: interop and benchmarks measure against it
// beside Debian's. It is a comparison and no prerequisite, so a failure is told and lived with. Looked up once a week.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from './files.mjs';
import { run, tail } from './process.mjs';
import { logFor } from './report.mjs';

const DIRECTORY = join(root, 'node_modules', '.cache', 'warren-interop');
const BINARY = join(DIRECTORY, 'wireguard-go');
/** Holds the module's version, beside the binary. */
const VERSION = join(DIRECTORY, 'version');
const MODULE = 'golang.zx2c4.com/wireguard@latest';
const WEEK_MS = 7 * 24 * 3600 * 1000;
const LIMIT_SECONDS = 180;

function findGo() {
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/go/bin', '/usr/lib/go/bin'];
  return directories.map((dir) => join(dir, 'go')).find((path) => existsSync(path));
}

export async function buildNewestWireguardGo(report) {
  const go = findGo();
  if (go === undefined) return;
  if (existsSync(BINARY) && Date.now() - statSync(BINARY).mtimeMs < WEEK_MS) return;
  const log = logFor('wireguard-go');
  const into = join(DIRECTORY, `new-${process.pid}`);
  rmSync(log, { force: true });
  mkdirSync(into, { recursive: true });
  try {
    const env = { ...process.env, GOBIN: into, CGO_ENABLED: '0', GOFLAGS: '' };
    const { code } = await report.step('building the newest wireguard-go to compare with', () =>
      run(go, ['install', MODULE], { cwd: into, env, log, limitSeconds: LIMIT_SECONDS }),
    );
    if (code === 0 && existsSync(join(into, 'wireguard'))) {
      const info = spawnSync(go, ['version', '-m', join(into, 'wireguard')], { encoding: 'utf8' });
      writeFileSync(VERSION, /\bmod\s+\S+\s+(\S+)/.exec(info.stdout)?.[1] ?? 'unknown');
      renameSync(join(into, 'wireguard'), BINARY);
    } else {
      report.line(`  it could not be had, Debian's is used alone: ${tail(log, 1).join('') || `go ended with ${code}`}`);
    }
  } finally {
    rmSync(into, { recursive: true, force: true });
  }
}
