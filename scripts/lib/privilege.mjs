// What this process may do with network namespaces and TUN devices, and how to get there without root: inside
// `unshare -Urnm` (a user namespace of our own) an ordinary user is root over namespaces that it made itself.

import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { inCi } from './files.mjs';
import { SetupError } from './report.mjs';

const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;

function hasCapabilities() {
  const effective = BigInt(
    `0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
  );
  return ((effective >> CAP_NET_ADMIN) & (effective >> CAP_SYS_ADMIN) & 1n) === 1n;
}

/** Mounting over /run gives `ip netns` a place of its own. */
const UNSHARE = ['unshare', '-Urnm', 'sh', '-c', 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"', 'sh'];

/** 'direct': we may make namespaces; 'unshare': inside a user namespace we may; 'none'. */
export function privilege() {
  if (hasCapabilities()) return 'direct';
  const probe = spawnSync(UNSHARE[0], [...UNSHARE.slice(1), 'true'], { stdio: 'ignore', timeout: 5000 });
  return probe.status === 0 ? 'unshare' : 'none';
}

/** The command that runs `command` with the right to make namespaces, as far as this system gives it. */
export function privileged(command) {
  return privilege() === 'unshare' ? [...UNSHARE, ...command] : command;
}

function tunProblem() {
  try {
    closeSync(openSync('/dev/net/tun', 'r+'));
    return null;
  } catch (error) {
    if (error.code === 'ENOENT') {
      return {
        why: '/dev/net/tun does not exist',
        next: 'modprobe tun; in a container also start it with --device /dev/net/tun --cap-add NET_ADMIN --cap-add SYS_ADMIN',
      };
    }
    return {
      why: `/dev/net/tun cannot be opened: ${error.code}`,
      next: 'chmod 0666 /dev/net/tun, or allow the device to this container',
    };
  }
}

/** Says what of namespaces and TUN is out of reach. In CI that is a failure. */
export function checkPrivilege(report) {
  const problems = [];
  const tun = tunProblem();
  if (tun !== null) problems.push({ what: 'no TUN device', ...tun });
  const level = privilege();
  if (level === 'none') {
    problems.push({
      what: 'no right to make network namespaces',
      why: 'not root, and `unshare -Urnm` is refused',
      next: 'run as root, or allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000',
    });
  }
  if (inCi && problems.length > 0) throw new SetupError(problems[0].what, problems[0]);
  if (level === 'unshare') report.line('not root: what needs namespaces runs inside `unshare -Urnm`');
  for (const { what, why, next } of problems) report.line(`${what}: ${why}\n  next: ${next}`);
}
