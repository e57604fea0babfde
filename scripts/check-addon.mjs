#!/usr/bin/env node
// Loads the one compiled addon below a build directory as users do: in the main thread, a second time, and in two worker
// threads of which one ends while the other still has it. Prints what the addon exports. usage: check-addon.mjs DIRECTORY

import { createRequire } from 'node:module';
import { relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { addonsBelow } from './lib/addon.mjs';
import { root } from './lib/files.mjs';

const require = createRequire(import.meta.url);

/** Names of the exports; throws what the loader throws. */
function load(path) {
  const names = Object.keys(require(path)).sort();
  if (names.length === 0) throw new Error('the addon exports nothing');
  return names.join(', ');
}

function loadInWorker(path) {
  return new Promise((done, fail) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: path });
    let names;
    worker.once('message', (message) => {
      names = message;
    });
    worker.once('error', fail);
    worker.once('exit', (code) => {
      if (code === 0 && names !== undefined) done(names);
      else fail(new Error(`the worker thread ended with ${code}`));
    });
  });
}

async function main(directory) {
  const found = addonsBelow(directory);
  if (found.length !== 1)
    throw new Error(`expected one addon below ${directory}, found ${found.length}: ${found.join(', ')}`);
  const [path] = found;
  const names = load(path);
  // Another module record of the same file: Node initialises the addon again.
  delete require.cache[path];
  const again = load(path);
  const inWorkers = await Promise.all([loadInWorker(path), loadInWorker(path)]);
  for (const other of [again, ...inWorkers]) {
    if (other !== names) throw new Error(`exports differ between loads: ${names} against ${other}`);
  }
  process.stdout.write(
    `${relative(root, path)} loads in the main thread, twice, and in worker threads; it exports ${names}\n`,
  );
}

if (isMainThread) {
  try {
    await main(resolve(root, process.argv[2] ?? 'build'));
  } catch (error) {
    process.stderr.write(`check-addon: ${error.message}\n`);
    process.exitCode = 1;
  }
} else {
  parentPort.postMessage(load(workerData));
}
