// Step 1 of set-up: the system packages that a profile misses. As root on Debian they are installed; otherwise the
// person gets the list, what each is for, and the one command that brings them.

import { existsSync, rmSync } from 'node:fs';
import { inCi } from './files.mjs';
import { missing, systemView, unwantedServices } from './needs.mjs';
import { run } from './process.mjs';
import { logFor, SetupError } from './report.mjs';

const APT_OPTIONS = ['-y', '-q', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=300'];

export function installCommand(packages, { root }) {
  const apt = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  return root ? apt : `sudo sh -c '${apt}'`;
}

async function aptInstall(packages, log) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
  // A stale list is no reason to stop: what is asked for may well be in it.
  await run('apt-get', ['update', '-q'], { env, log });
  // Before they are there; whoever wants one later unmasks it.
  const services = existsSync('/run/systemd/system') ? unwantedServices(packages) : [];
  if (services.length > 0) await run('systemctl', ['mask', ...services], { env, log });
  const { code } = await run('apt-get', ['install', ...APT_OPTIONS, ...packages], { env, log });
  if (code === 0) return;
  // One name that this system does not have must not keep the others away.
  for (const name of packages) await run('apt-get', ['install', ...APT_OPTIONS, name], { env, log });
}

function list(needs) {
  return needs.map((need) => `${need.package} (${need.use})`).join(', ');
}

/**
 * Installs or names what is missing. Throws when nothing of the profile can work without it, or in CI. Of the options,
 * `checkOnly` is a user's; the others stand for this machine and are given by tests.
 */
export async function systemPackages(profile, report, options = {}) {
  const {
    checkOnly = false,
    look = systemView,
    root = process.geteuid() === 0,
    ci = inCi,
    install = aptInstall,
  } = options;
  const view = look();
  let lacking = missing(profile, view);
  if (lacking.length === 0) return;
  const log = logFor('packages');
  let why = 'only root can install packages';
  if (checkOnly) {
    why = 'asked only to check';
  } else if (!view.hasApt) {
    why = 'this system has no apt-get; the names are those of Debian 12, yours may differ';
  } else if (root) {
    const packages = lacking.map((need) => need.package);
    rmSync(log, { force: true });
    await report.step(`installing ${packages.join(' ')}`, () => install(packages, log));
    lacking = missing(profile, look());
    if (lacking.length === 0) return;
    why = 'apt-get did not bring them; its output is above';
  }

  const packages = lacking.map((need) => need.package);
  const command = view.hasApt ? installCommand(packages, { root }) : `install what brings: ${packages.join(' ')}`;
  if (ci || checkOnly || lacking.some((need) => need.essential)) {
    throw new SetupError(`missing system packages: ${list(lacking)}`, {
      why,
      next: command,
      log: root && view.hasApt && !checkOnly ? log : undefined,
    });
  }
  report.line(`missing: ${list(lacking)}`);
  report.line(`  ${why}; to get them: ${command}`);
  report.line('  going on with what works without them');
}
