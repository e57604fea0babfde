#!/usr/bin/env node
// Builds native/fuzz (libFuzzer, ASan and UBSan) and runs every target for a bounded time over its corpus. Targets are
// the executables named fuzz_* in the build tree; the corpus of fuzz_NAME is native/fuzz/corpus/NAME. New inputs go to the
// build tree, not to the repository. usage: native-fuzz.mjs [--seconds N] [--target NAME]

import { accessSync, constants, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { root, walk } from './lib/files.mjs';
import { hasCommand, toolchain } from './lib/native.mjs';
import { endChildrenOnSignals, run } from './lib/process.mjs';

const option = (name, otherwise) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : process.argv[at + 1];
};
const INPUT_LIMIT_SECONDS = 5;
const MEMORY_LIMIT_MB = 1024;

function fail(what, next) {
  process.stderr.write(`native-fuzz: ${what}\n  next: ${next}\n`);
  process.exit(1);
}

function isProgram(path) {
  if (!basename(path).startsWith('fuzz_') || /\.\w+$/.test(path)) return false;
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

endChildrenOnSignals();
const seconds = Number(option('--seconds', '10'));
const wanted = option('--target', null);
const build = join(root, 'build-native', 'stage-fuzz');
const source = join(root, 'native', 'fuzz');
const env = { ...process.env, UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1' };

if (!hasCommand('clang++')) fail('libFuzzer needs clang++, which is not here', 'node scripts/setup.mjs --for test');
for (const [command, ...args] of [
  ['cmake', '-S', source, '-B', build, ...toolchain({ clang: true })],
  ['cmake', '--build', build, '--parallel', process.env.WARREN_JOBS ?? '2'],
]) {
  const { code } = await run(command, args, { cwd: root, env });
  if (code !== 0) process.exit(1);
}

const programs = walk(build, (path) => !path.includes('/CMakeFiles')).filter(isProgram);
const targets = programs.filter((path) => wanted === null || basename(path) === `fuzz_${wanted}`);
if (targets.length === 0) fail('no fuzz targets were built', `look at ${relative(root, source)}/CMakeLists.txt`);

let crashed = 0;
for (const target of targets) {
  const name = basename(target).slice('fuzz_'.length);
  const corpus = join(source, 'corpus', name);
  if (!existsSync(corpus) || readdirSync(corpus).length === 0) {
    fail(`fuzz_${name} has no corpus`, `put at least one input into ${relative(root, corpus)}`);
  }
  const found = join(build, 'found', name);
  const artifacts = join(build, 'crashes', name);
  for (const directory of [found, artifacts]) mkdirSync(directory, { recursive: true });
  process.stdout.write(`\n== fuzz_${name}, ${seconds} s\n`);
  const args = [
    `-max_total_time=${seconds}`,
    `-timeout=${INPUT_LIMIT_SECONDS}`,
    `-rss_limit_mb=${MEMORY_LIMIT_MB}`,
    '-print_final_stats=1',
    `-artifact_prefix=${artifacts}/`,
    found,
    corpus,
  ];
  const { code } = await run(target, args, { cwd: root, env, limitSeconds: seconds + 60 });
  if (code !== 0) {
    crashed++;
    process.stdout.write(`fuzz_${name}: FAILED; the input is in ${relative(root, artifacts)}\n`);
  }
}
process.stdout.write(`native-fuzz: ${targets.length} targets, ${crashed} failed\n`);
process.exitCode = crashed === 0 ? 0 : 1;
