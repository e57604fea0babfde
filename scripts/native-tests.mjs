#!/usr/bin/env node
// Builds native/test with a sanitizer and runs it with ctest. usage: native-tests.mjs asan|tsan.

import { join } from 'node:path';
import { root } from './lib/files.mjs';
import { toolchain } from './lib/native.mjs';
import { privileged } from './lib/privilege.mjs';
import { endChildrenOnSignals, run } from './lib/process.mjs';

const SANITIZERS = {
  asan: {
    sanitize: 'address,undefined',
    env: {
      ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0',
      UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
    },
  },
  tsan: { sanitize: 'thread', env: { TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1' } },
};

endChildrenOnSignals();
const name = process.argv[2];
const choice = SANITIZERS[name];
if (choice === undefined) {
  process.stderr.write(`usage: native-tests.mjs ${Object.keys(SANITIZERS).join('|')}\n`);
  process.exit(2);
}

const jobs = process.env.WARREN_JOBS ?? '2';
const build = join(root, 'build-native', `stage-${name}`);
const env = { ...process.env, ...choice.env };
const commands = [
  ['cmake', '-S', join(root, 'native', 'test'), '-B', build, `-DSANITIZE=${choice.sanitize}`, ...toolchain()],
  ['cmake', '--build', build, '--parallel', jobs],
  privileged(['ctest', '--test-dir', build, '--output-on-failure', '--no-tests=error', '--parallel', jobs]),
];
for (const [command, ...args] of commands) {
  const { code } = await run(command, args, { cwd: root, env });
  if (code !== 0) {
    process.exitCode = 1;
    break;
  }
}
