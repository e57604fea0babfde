// Loaded into an engine with `node --require`: blocks its event loop for five seconds, at SIGUSR2 by computing, at SIGPWR
// asleep, and says on standard error when that begins and ends. No hook in the product is needed, and its native threads
// run on.

'use strict';

const { writeSync } = require('node:fs');

const BLOCK_MS = 5_000;

function block(how) {
  writeSync(2, 'event loop blocked\n');
  how();
  writeSync(2, 'event loop free\n');
}

process.on('SIGUSR2', () => {
  block(() => {
    const end = performance.now() + BLOCK_MS;
    while (performance.now() < end);
  });
});

process.on('SIGPWR', () => {
  block(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCK_MS));
});
