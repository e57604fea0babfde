// What both demos stand on: failures for people, commands that must succeed, waiting for a condition, the way into a user
// namespace without root, and an end that removes everything, also at Ctrl-C. Node's own modules only.

import { spawnSync } from 'node:child_process';

const INSIDE = 'WARREN_DEMO_INSIDE';
const POLL_MS = 20;

/** A failure that a person can do something about; printed without a stack. */
export class DemoError extends Error {}

export function must(command, options = {}) {
  const [program, ...args] = command;
  const result = spawnSync(program, args, { encoding: 'utf8', timeout: 15_000, ...options });
  if (result.error?.code === 'ENOENT') throw new DemoError(`${program} is missing; run: npm run setup`);
  if (result.status !== 0) {
    throw new DemoError(`\`${command.join(' ')}\` failed: ${(result.stderr || result.error?.message || '').trim()}`);
  }
  return result.stdout;
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Polls until `probe` gives something truthy, or a promise of it. */
export async function until(what, limitMs, probe) {
  const started = performance.now();
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (performance.now() - started > limitMs) throw new DemoError(`${what}: not within ${limitMs / 1000} s`);
    await pause(POLL_MS);
  }
}

/** Without root: in a user namespace we are root over namespaces of our own, and /run is a private one. */
export function enterUserNamespace(script) {
  const shell = 'mount -t tmpfs tmpfs /run && exec "$0" "$@"';
  const unshare = ['-Urnm', 'sh', '-c'];
  if (
    process.env[INSIDE] === undefined &&
    spawnSync('unshare', [...unshare, 'mount -t tmpfs tmpfs /run']).status === 0
  ) {
    const again = [shell, process.execPath, script, ...process.argv.slice(2)];
    const { status } = spawnSync('unshare', [...unshare, ...again], {
      stdio: 'inherit',
      env: { ...process.env, [INSIDE]: '1' },
    });
    process.exit(status ?? 1);
  }
  throw new DemoError(
    'the demo makes network namespaces, and this user may not\n' +
      'run it as root:            sudo npm run demo\n' +
      'or allow user namespaces:  sudo sysctl -w kernel.unprivileged_userns_clone=1 (Debian),\n' +
      '                           sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)',
  );
}

/** `world.dispose` is synchronous, so that it also works at exit. */
export function disposeAtEnd(world) {
  process.once('exit', () => world.dispose());
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ]) {
    process.once(signal, () => process.exit(code));
  }
}

export async function runDemo(main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof DemoError)) throw error;
    process.stderr.write(`demo: ${error.message.replaceAll('\n', '\ndemo: ')}\n`);
    process.exitCode = 1;
  }
}
