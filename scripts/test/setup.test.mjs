// Set-up on machines that are not this one: what it finds missing on a bare Debian, what it says with and without root,
// when node_modules counts as up to date, and that two runs in one checkout take turns.

import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { agrees } from '../lib/dependencies.mjs';
import { signature, walk } from '../lib/files.mjs';
import { missing, PROFILES, systemView, unwantedServices } from '../lib/needs.mjs';
import { takeLock } from '../lib/setup-lock.mjs';
import { systemPackages } from '../lib/system-packages.mjs';
import { scratch } from './scratch.mjs';

/** A machine with these files: binaries below bin/, others by their absolute path. */
function machine({ debian = '12', files = [], apt = true } = {}) {
  const release = debian === null ? 'ID=fedora\nVERSION_ID=40\n' : `ID=debian\nVERSION_ID="${debian}"\n`;
  const all = [...files, ...(apt ? ['bin/apt-get'] : [])];
  const prefix = scratch('machine', {
    'etc/os-release': release,
    ...Object.fromEntries(all.map((file) => [file, ''])),
  });
  return () => systemView({ path: join(prefix, 'bin'), prefix, systemDirectories: [] });
}

const packages = (profile, view) => missing(profile, view).map((need) => need.package);

class Lines {
  text = '';
  line(text) {
    this.text += `${text}\n`;
  }
  step(what, work) {
    this.line(what);
    return work();
  }
}

describe('what is missing', () => {
  test('on a bare Debian 12, by its package names', () => {
    const view = machine()();
    expect(packages('build', view)).toEqual(['g++', 'cmake', 'make', 'python3']);
    expect(packages('demo', view)).toEqual([
      ...['g++', 'cmake', 'make', 'python3'],
      ...['iproute2', 'iperf3', 'iputils-ping', 'wireguard-tools', 'nftables'],
    ]);
    expect(packages('test', view)).toEqual(
      expect.arrayContaining(['wireguard-go', 'nftables', 'postgresql', 'clang', 'libclang-rt-14-dev', 'libssl3']),
    );
  });

  test('a package whose service would open a port on this machine names it, so that it is not started', () => {
    expect(packages('test', machine()())).toContain('coturn');
    expect(unwantedServices(packages('test', machine()()))).toEqual(['coturn.service']);
    expect(unwantedServices(packages('build', machine()()))).toEqual([]);
  });

  test('on Debian 13 and on other systems the names that differ', () => {
    expect(packages('test', machine({ debian: '13' })())).toEqual(
      expect.arrayContaining(['libclang-rt-dev', 'libssl3t64']),
    );
    expect(packages('test', machine({ debian: null })())).toEqual(expect.arrayContaining(['libclang-rt-dev']));
  });

  test('a binary or a file that is there is not asked for, whoever brought it', () => {
    const view = machine({
      files: [
        'bin/c++',
        'bin/cmake',
        'bin/clang++',
        'usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.fuzzer-x86_64.a',
      ],
    })();
    expect(packages('build', view)).toEqual(['make', 'python3']);
    expect(packages('test', view)).not.toContain('clang');
    expect(packages('test', view)).not.toContain('libclang-rt-14-dev');
  });

  test('nothing on a machine that has all of it', () => {
    const names =
      'g++ cmake make ip iperf3 ping wg wireguard-go nft conntrack tcpdump ethtool ps setpriv python3 initdb clang++ turnutils_natdiscovery miniupnpd'.split(
        ' ',
      );
    const files = [
      ...names.map((name) => `bin/${name}`),
      'usr/lib/x86_64-linux-gnu/libcrypto.so.3',
      'usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a',
    ];
    const view = machine({ files })();
    for (const profile of Object.keys(PROFILES)) expect(missing(profile, view), profile).toEqual([]);
  });
});

describe('what is done about it', () => {
  const built = ['bin/g++', 'bin/cmake', 'bin/make', 'bin/python3'];

  test('root: only what is missing is installed, once, and looked for again', async () => {
    let files = [...built, 'bin/ip', 'bin/ping', 'bin/nft'];
    const asked = [];
    const report = new Lines();
    await systemPackages('demo', report, {
      root: true,
      ci: true,
      look: () => machine({ files })(),
      install: (names) => {
        asked.push(names);
        files = [...files, 'bin/iperf3', 'bin/wg'];
      },
    });
    expect(asked).toEqual([['iperf3', 'wireguard-tools']]);
    expect(report.text).toContain('installing iperf3 wireguard-tools');
  });

  test('root: what apt did not bring is an error that names it', async () => {
    const options = { root: true, ci: true, look: machine({ files: built }), install: () => {} };
    await expect(systemPackages('demo', new Lines(), options)).rejects.toMatchObject({
      message: expect.stringContaining('iproute2 (network namespaces and links)'),
      why: expect.stringContaining('apt-get did not bring them'),
      next: expect.stringContaining('apt-get install -y --no-install-recommends iproute2 iperf3'),
    });
  });

  test('not root: what is missing, the command that brings it, and on with the rest', async () => {
    const report = new Lines();
    await systemPackages('demo', report, {
      root: false,
      ci: false,
      look: machine({ files: [...built, 'bin/ip', 'bin/ping', 'bin/nft'] }),
    });
    expect(report.text).toContain(
      'missing: iperf3 (TCP through the tunnel), wireguard-tools (the stock wg and wg-quick)',
    );
    expect(report.text).toContain(
      "sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends iperf3 wireguard-tools'",
    );
    expect(report.text).toContain('going on with what works without them');
  });

  test('not root in CI: a failure', async () => {
    const options = { root: false, ci: true, look: machine({ files: [...built, 'bin/ip', 'bin/ping', 'bin/nft'] }) };
    await expect(systemPackages('demo', new Lines(), options)).rejects.toThrow('iperf3');
  });

  test('not root without a compiler: a failure, since nothing works', async () => {
    const options = { root: false, ci: false, look: machine() };
    await expect(systemPackages('demo', new Lines(), options)).rejects.toThrow('g++ (compile the addon)');
  });

  test('a system without apt-get: the names, and that they are those of Debian', async () => {
    const options = { root: true, ci: false, look: machine({ debian: null, apt: false }) };
    await expect(systemPackages('build', new Lines(), options)).rejects.toMatchObject({
      why: expect.stringContaining('no apt-get'),
      next: 'install what brings: g++ cmake make python3',
    });
  });
});

describe('node_modules against the lockfile', () => {
  const lock = {
    packages: {
      '': { name: 'warren' },
      'node_modules/a': { version: '1.0.0', integrity: 'x' },
      'node_modules/b': { version: '1.0.0', integrity: 'y', optional: true },
    },
  };
  const installed = (packages) => agrees(lock, { packages });

  test('agrees when every package is there; those for other platforms may be missing', () => {
    expect(installed({ 'node_modules/a': { version: '1.0.0', integrity: 'x' } })).toBe(true);
  });
  test('does not agree when one is missing, of another version, of other content, or too many', () => {
    expect(installed({})).toBe(false);
    expect(installed({ 'node_modules/a': { version: '1.0.1', integrity: 'x' } })).toBe(false);
    expect(installed({ 'node_modules/a': { version: '1.0.0', integrity: 'z' } })).toBe(false);
    expect(installed({ 'node_modules/a': { version: '1.0.0', integrity: 'x' }, 'node_modules/c': {} })).toBe(false);
  });
});

describe('signatures', () => {
  test('change with a file that changes, comes or goes, and not otherwise', () => {
    const directory = scratch('signature', { 'a.ts': '1', 'b/c.ts': '2' });
    const now = () => signature(walk(directory));
    const first = now();
    expect(now()).toBe(first);
    writeFileSync(join(directory, 'b/d.ts'), '');
    const second = now();
    expect(second).not.toBe(first);
    writeFileSync(join(directory, 'a.ts'), '12');
    expect(now()).not.toBe(second);
    expect(signature(walk(directory), 'setting')).not.toBe(now());
  });
});

describe('the lock', () => {
  test('a second set-up waits until the first is done', async () => {
    const lock = join(scratch('lock'), 'lock');
    const free = await takeLock(() => {}, lock);
    const order = [];
    const second = takeLock((pid) => order.push(`waits for ${pid === process.pid ? 'us' : pid}`), lock).then(
      (freeSecond) => {
        order.push('second has it');
        freeSecond();
      },
    );
    await expect.poll(() => order).toEqual(['waits for us']);
    order.push('first is done');
    free();
    await second;
    expect(order).toEqual(['waits for us', 'first is done', 'second has it']);
    expect(existsSync(lock)).toBe(false);
  });

  test('the lock of a process that is gone is taken over', async () => {
    const gone = spawnSync(process.execPath, ['--version']);
    const lock = join(scratch('lock', { lock: String(gone.pid) }), 'lock');
    const waited = [];
    const free = await takeLock((pid) => waited.push(pid), lock);
    expect(waited).toEqual([]);
    free();
  });
});
