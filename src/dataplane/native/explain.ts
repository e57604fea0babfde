// What a person can do when the live data plane does not open: the errno and the step that failed, put into a sentence with
// the remedy. Steps are named in native/os (tun.cc, link_monitor.cc, clock.cc). Leaves out failures of loading (addon.ts).

import { getSystemErrorName } from 'node:util';
import type { NativeFailure } from './addon.ts';

/** As Node spells them: EPERM, EBUSY … */
export function errnoName(code: number): string {
  return getSystemErrorName(-code);
}

/** A plane without a TUN: nothing here needs a privilege. */
export function explainSockets(failure: NativeFailure): string {
  const what = `${failure.step}: ${errnoName(failure.code)}`;
  switch (errnoName(failure.code)) {
    case 'ENOSYS':
      return `${failure.step}: the kernel or libcrypto is too old; Linux 5.4 or later and OpenSSL 3 are needed`;
    case 'EMFILE':
    case 'ENFILE':
      return `too many open files (${what}): raise the limit (ulimit -n)`;
    default:
      return `the relay's data plane cannot be made (${what})`;
  }
}

const ADMIN = 'start as root, or give the capability: setcap cap_net_admin+ep "$(readlink -f "$(command -v node)")"';

export function explainOpen(ifname: string, failure: NativeFailure): string {
  const errno = errnoName(failure.code);
  const what = `${failure.step}: ${errno}`;
  switch (errno) {
    case 'EPERM':
    case 'EACCES':
      return `no permission to make the interface ${ifname} (${what}): it needs CAP_NET_ADMIN; ${ADMIN}`;
    case 'ENOENT':
    case 'ENXIO':
      return `there is no /dev/net/tun here (${what}): load the module (modprobe tun); in a container, pass the device (--device /dev/net/tun)`;
    case 'ENODEV':
      return `the kernel has no TUN driver (${what}): load the module (modprobe tun) or use a kernel with CONFIG_TUN`;
    case 'EBUSY':
      return `the interface ${ifname} is there already and in use (${what}): stop what uses it, or choose another name`;
    case 'EINVAL':
      return `the kernel refuses the interface ${ifname} (${what}): a name has 1 to 15 characters without "/" or space, an MTU 68 to 65,535, and the name must not be that of another kind of interface`;
    case 'ENOSYS':
      return `${failure.step}: the kernel or libcrypto is too old; Linux 5.4 or later and OpenSSL 3 are needed`;
    case 'EMFILE':
    case 'ENFILE':
      return `too many open files (${what}): raise the limit (ulimit -n)`;
    case 'ENOMEM':
      return `no memory (${what})`;
    default:
      return `the interface ${ifname} cannot be made (${what})`;
  }
}
