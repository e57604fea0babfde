// The controller's process (dist), with everything loaded but nothing begun: it waits for a line of JSON with its settings, so
// that a loop of starts and kills does not wait for modules. What runs then is what `warren controller` runs.

import { createInterface } from 'node:readline';
import { runController } from '../../../dist/controller/controller-main.js';
import '../../../dist/controller/store/postgres-store.js';
import '../../../dist/controller/store/sqlite-store.js';

const [line] = await new Promise((resolve) => {
  createInterface({ input: process.stdin }).once('line', (text) => resolve([text]));
});
const outcome = await runController(JSON.parse(line), process.env, (started) => {
  process.stdout.write(`${JSON.stringify({ url: started.url, joinLink: started.joinLink })}\n`);
});
if (outcome.kind === 'failed') process.stderr.write(`${JSON.stringify(outcome.failure)}\n`);
process.exit(outcome.kind === 'ended' ? 0 : 1);
