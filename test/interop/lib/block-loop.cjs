// Loaded into an engine with `node --require`: SIGUSR2 keeps its event loop busy for five seconds. Says on standard error
// when that begins and ends. No hook in the product is needed, and its native threads run on.

'use strict';

const { writeSync } = require('node:fs');

const BLOCK_MS = 5_000;

process.on('SIGUSR2', () => {
  const end = performance.now() + BLOCK_MS;
  writeSync(2, 'event loop blocked\n');
  while (performance.now() < end);
  writeSync(2, 'event loop free\n');
});
