// Tailscale's relay (derper), its daemon, and a control server for two of them (derp/main.go), built from the Go module proxy where Go is
// present, into node_modules/.cache: as the other peers of the bench. The version is the newest
// of which the proxy has all modules, and which Go 1.26 builds.

import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../../test/interop/lib/engines.ts';
import { hasProgram, run } from '../../test/interop/lib/shell.ts';

export const TAILSCALE_VERSION = 'v1.96.5';
const DIRECTORY = join(REPOSITORY, `node_modules/.cache/warren-bench/tailscale-${TAILSCALE_VERSION}`);
const SOURCE = join(REPOSITORY, 'bench/paths/derp/main.go');
const COMMANDS = ['derper', 'tailscaled', 'tailscale'] as const;
/** One package after another, so that a machine that does other things is left some room: four minutes on two busy cores. */
const BUILD_LIMIT_MS = 2_400_000;
const GO_VERSION = '1.26.1';

export interface TailscalePrograms {
  readonly derper: string;
  readonly tailscaled: string;
  readonly tailscale: string;
  /** derp/main.go. */
  readonly peer: string;
}

function programsIn(directory: string): TailscalePrograms {
  const at = (name: string): string => join(directory, name);
  return { derper: at('derper'), tailscaled: at('tailscaled'), tailscale: at('tailscale'), peer: at('derp-peer') };
}

/** Null, with a word to `say`, where there is no Go or it cannot be built. */
export async function tailscalePrograms(say: (text: string) => void): Promise<TailscalePrograms | null> {
  const programs = programsIn(DIRECTORY);
  const isThere = (program: string): boolean =>
    existsSync(program) && statSync(program).mtimeMs > statSync(SOURCE).mtimeMs;
  if (Object.values(programs).every(isThere)) return programs;
  if (!(await hasProgram('go'))) {
    say('  no Go here: Tailscale is left out\n');
    return null;
  }
  say(`  building Tailscale ${TAILSCALE_VERSION} once, which takes minutes\n`);
  const work = `${DIRECTORY}.${process.pid}`;
  try {
    mkdirSync(join(work, 'src'), { recursive: true });
    copyFileSync(SOURCE, join(work, 'src/main.go'));
    writeFileSync(join(work, 'src/go.mod'), `module derp-peer\n\ngo ${GO_VERSION}\n`);
    const commands = COMMANDS.map((name) => `tailscale.com/cmd/${name}`);
    for (const command of [
      ['go', '-C', join(work, 'src'), 'get', `tailscale.com@${TAILSCALE_VERSION}`],
      ['nice', '-n', '19', 'go', '-C', join(work, 'src'), 'build', '-p', '1', '-o', `${work}/`, ...commands, '.'],
    ]) {
      const { code, stderr } = await run(command, { env: { GOFLAGS: '-mod=mod' }, timeoutMs: BUILD_LIMIT_MS });
      if (code === 0) continue;
      say(`  Tailscale is left out, it cannot be built: ${stderr.slice(-2_000)}\n`);
      return null;
    }
    rmSync(join(work, 'src'), { recursive: true });
    rmSync(DIRECTORY, { recursive: true, force: true });
    renameSync(work, DIRECTORY);
    return programs;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
