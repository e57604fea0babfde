// What each profile needs from the system, by what we look for and by the Debian package that brings it. A need is met
// when one of its binaries is on the PATH (or in the system directories) or one of its files exists: no package manager
// is asked, so this costs microseconds and works on systems that are not Debian.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * `binaries` or `files`: any one of them is enough. A `*` in a file's path stands for one directory name.
 * `essential`: without it nothing of the profile works. `service`: what the package would start although nobody here needs it.
 */
const NEEDS = {
  compiler: { package: 'g++', binaries: ['c++', 'g++'], use: 'compile the addon', essential: true },
  cmake: { package: 'cmake', binaries: ['cmake'], use: 'build the addon', essential: true },
  make: { package: 'make', binaries: ['make'], use: 'build the addon', essential: true },
  iproute: { package: 'iproute2', binaries: ['ip'], use: 'network namespaces and links' },
  iperf: { package: 'iperf3', binaries: ['iperf3'], use: 'TCP through the tunnel' },
  ping: { package: 'iputils-ping', binaries: ['ping'], use: 'ping through the tunnel' },
  wg: { package: 'wireguard-tools', binaries: ['wg'], use: 'the stock wg and wg-quick' },
  wireguardGo: { package: 'wireguard-go', binaries: ['wireguard-go'], use: 'another WireGuard to talk to' },
  nft: { package: 'nftables', binaries: ['nft'], use: 'NAT and packet loss between namespaces' },
  conntrack: { package: 'conntrack', binaries: ['conntrack'], use: 'make NATs forget' },
  tcpdump: { package: 'tcpdump', binaries: ['tcpdump'], use: 'see what is on the wire' },
  ethtool: { package: 'ethtool', binaries: ['ethtool'], use: 'switch offloads off and on' },
  ps: { package: 'procps', binaries: ['ps'], use: 'look at memory and processor time' },
  setpriv: { package: 'util-linux', binaries: ['setpriv'], use: 'run without privileges' },
  python: {
    package: 'python3',
    binaries: ['python3'],
    use: 'compile SQLite and, for tests, the addon through node-gyp',
  },
  postgresql: {
    package: 'postgresql',
    binaries: ['initdb'],
    files: ['/usr/lib/postgresql/*/bin/initdb'],
    use: "the controller's store on PostgreSQL",
  },
  coturn: {
    package: 'coturn',
    binaries: ['turnutils_natdiscovery'],
    use: 'another STUN server and client to talk to',
    service: 'coturn.service',
  },
  // The program alone: what would start it as a service is in the package miniupnpd.
  miniupnpd: { package: 'miniupnpd-nftables', binaries: ['miniupnpd'], use: 'a gateway that maps ports' },
  libcrypto: {
    package: { 12: 'libssl3', default: 'libssl3t64' },
    files: ['/usr/lib/*/libcrypto.so.3', '/lib/*/libcrypto.so.3', '/usr/lib64/libcrypto.so.3'],
    use: 'the portable cipher, outside of Node',
  },
  clang: { package: 'clang', binaries: ['clang++'], use: 'sanitizers and fuzzing' },
  clangRuntime: {
    package: { 12: 'libclang-rt-14-dev', default: 'libclang-rt-dev' },
    files: [
      '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a',
      '/usr/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a',
    ],
    use: 'sanitizers and fuzzing',
  },
};

const BUILD = ['compiler', 'cmake', 'make', 'python'];
const TUNNEL = [...BUILD, 'iproute', 'iperf', 'ping', 'wg'];
const DEMO = [...TUNNEL, 'nft'];
const TEST = [
  ...DEMO,
  'wireguardGo',
  'conntrack',
  'tcpdump',
  'ethtool',
  'ps',
  'setpriv',
  'postgresql',
  'coturn',
  'miniupnpd',
  'libcrypto',
  'clang',
  'clangRuntime',
];
const BENCH = [...TUNNEL, 'wireguardGo', 'ps', 'setpriv', 'nft', 'conntrack', 'ethtool'];
const NAT_LAB = [...BUILD, 'iproute', 'ping', 'nft', 'conntrack', 'ethtool', 'setpriv'];

/** Of packages that would open ports on the machine only because its tests were set up. */
export function unwantedServices(packages) {
  return Object.values(NEEDS)
    .filter((need) => need.service !== undefined && packages.includes(need.package))
    .map((need) => need.service);
}

/** Profile → names of needs. */
export const PROFILES = { build: BUILD, demo: DEMO, test: TEST, bench: BENCH, 'nat-lab': NAT_LAB };

const SYSTEM_DIRECTORIES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** `path`: directories to look in; `prefix`: put before the files' absolute paths. Both are given by tests. */
export function systemView({
  path = process.env.PATH ?? '',
  prefix = '',
  systemDirectories = SYSTEM_DIRECTORIES,
} = {}) {
  const directories = [...new Set([...path.split(delimiter).filter((dir) => dir !== ''), ...systemDirectories])];
  return {
    hasBinary: (name) => directories.some((dir) => existsSync(join(dir, name))),
    hasFile: (pattern) => matches(prefix, pattern.split('/').slice(1)),
    debian: debianVersion(prefix),
    hasApt: directories.some((dir) => existsSync(join(dir, 'apt-get'))),
  };
}

function matches(at, parts) {
  const [part, ...rest] = parts;
  if (part === undefined) return true;
  if (!part.includes('*')) return existsSync(`${at}/${part}`) && matches(`${at}/${part}`, rest);
  const [head, last] = part.split('*');
  let names;
  try {
    names = readdirSync(`${at}/`);
  } catch {
    return false;
  }
  return names.some((name) => name.startsWith(head) && name.endsWith(last) && matches(`${at}/${name}`, rest));
}

/** The major version when this is Debian, 0 for a system derived from it, null for any other. */
function debianVersion(prefix) {
  let text;
  try {
    text = readFileSync(`${prefix}/etc/os-release`, 'utf8');
  } catch {
    return null;
  }
  const field = (name) => new RegExp(`^${name}="?([^"\n]*)"?$`, 'm').exec(text)?.[1] ?? '';
  if (field('ID') === 'debian') return Number.parseInt(field('VERSION_ID'), 10) || 0;
  return /\bdebian\b/.test(field('ID_LIKE')) ? 0 : null;
}

function packageName(need, debian) {
  return typeof need.package === 'string' ? need.package : (need.package[debian] ?? need.package.default);
}

/** The unmet needs of a profile: `{ package, use, essential }`. */
export function missing(profile, view) {
  return PROFILES[profile]
    .map((name) => NEEDS[name])
    .filter((need) => !(need.binaries?.some(view.hasBinary) || need.files?.some(view.hasFile)))
    .map((need) => ({ package: packageName(need, view.debian), use: need.use, essential: need.essential === true }));
}
