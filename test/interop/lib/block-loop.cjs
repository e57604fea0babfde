// Loaded into an engine with `node --require`: SIGUSR2 blocks its event loop for five seconds and says on standard error when
// that begins and ends. Asleep rather than computing, so that the test sees the event loop's absence and not a fight
// for the cores of a small machine. No hook in the product is needed, and its native threads run on.

'use strict';

const { writeSync } = require('node:fs');

const BLOCK_MS = 5_000;

process.on('SIGUSR2', () => {
  writeSync(2, 'event loop blocked\n');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCK_MS);
  writeSync(2, 'event loop free\n');
});
