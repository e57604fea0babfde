// What the native test and fuzz builds share: which compiler, which generator, and running without address
// randomisation.

import { spawnSync } from 'node:child_process';

export function hasCommand(name) {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Arguments for cmake's first configuration of a build directory. */
export function toolchain() {
  const args = [];
  if (process.env.CXX === undefined && hasCommand('clang++')) {
    args.push('-DCMAKE_CXX_COMPILER=clang++', '-DCMAKE_C_COMPILER=clang');
  }
  if (hasCommand('ninja')) args.push('-G', 'Ninja');
  return args;
}

/** `command` under `setarch -R` where this system allows that (some containers do not). */
export function withoutRandomLayout(command) {
  const prefix = ['setarch', process.arch === 'arm64' ? 'aarch64' : 'x86_64', '-R'];
  const allowed = spawnSync(prefix[0], [...prefix.slice(1), 'true'], { stdio: 'ignore' }).status === 0;
  return allowed ? [...prefix, ...command] : command;
}
