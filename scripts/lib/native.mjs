// What the native test and fuzz builds share: which compiler, and which generator. clang where there is one: the addon
// itself is built by gcc, so the sources meet both compilers, and both kinds of sanitizer runtime are at hand.

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
