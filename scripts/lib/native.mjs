// What the native test and fuzz builds share: which generator, and which compiler. The tests use the compiler that the
// addon is built with; fuzzing needs clang, which alone has libFuzzer, so the sources meet both.

import { spawnSync } from 'node:child_process';

export function hasCommand(name) {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Arguments for cmake's configuration of a build directory. */
export function toolchain({ clang = false } = {}) {
  return [...(clang ? ['-DCMAKE_CXX_COMPILER=clang++'] : []), ...(hasCommand('ninja') ? ['-G', 'Ninja'] : [])];
}
