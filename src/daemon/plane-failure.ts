// Why the data plane could not be made, as advice: no addon, no /dev/net/tun, no CAP_NET_ADMIN, the name is taken. Looks at
// the machine only after the failure, so that nothing is refused that would have worked.

import { existsSync, readFileSync } from 'node:fs';
import { errorCode, errorMessage, StartError } from './start-error.ts';

const CAP_NET_ADMIN = 12n;
const TUN = '/dev/net/tun';

export interface Machine {
  readonly exists: (path: string) => boolean;
  readonly read: (path: string) => string | null;
}

const THIS_MACHINE: Machine = {
  exists: existsSync,
  read: (path) => {
    try {
      return readFileSync(path, 'latin1');
    } catch {
      return null;
    }
  },
};

/** An error that is no system error is passed through unchanged: it is a bug, or explains itself. */
export function explainPlaneFailure(error: unknown, ifname: string, machine: Machine = THIS_MACHINE): unknown {
  const code = errorCode(error);
  if (error instanceof StartError || code === null) return error;
  const what = `cannot make the interface ${ifname}`;
  const message = errorMessage(error);
  const advise = (why: string, help: string): StartError => new StartError({ what, why, help });
  if (code.startsWith('WARREN_ADDON') || code === 'ERR_DLOPEN_FAILED') {
    return advise(`the native addon cannot be loaded: ${message}`, 'build it with: npm run build:native');
  }
  if (code === 'EBUSY' || code === 'EEXIST') {
    return advise(
      `there is an interface ${ifname} already, and it is in use`,
      `use another name, or remove it: ip link del ${ifname}`,
    );
  }
  if (!machine.exists(TUN)) {
    return advise(
      `${TUN} does not exist`,
      'load the module (modprobe tun); in a container pass the device (--device /dev/net/tun)',
    );
  }
  if (code === 'EINVAL' && machine.exists(`/sys/class/net/${ifname}`)) {
    return advise(
      `there is an interface ${ifname} already, and it is not a TUN device that fits`,
      `use another name, or remove it: ip link del ${ifname}`,
    );
  }
  if ((code === 'EPERM' || code === 'EACCES') && !hasNetAdmin(machine)) {
    return advise(
      'this process lacks CAP_NET_ADMIN',
      `run as root, or: sudo setcap cap_net_admin+ep on a copy of node; to try it without: unshare -Urnm`,
    );
  }
  if (code === 'EPERM' || code === 'EACCES') {
    return advise(message, `see who may open ${TUN} (ls -l ${TUN}), and what a container or a security module forbids`);
  }
  return advise(message, 'LOG_LEVEL=debug tells more; the kernel log (dmesg) may say why');
}

function hasNetAdmin(machine: Machine): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(machine.read('/proc/self/status') ?? '')?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}
