#!/usr/bin/env node
// `npm test`: every stage of lib/stages.mjs through lib/stage-runner.mjs, vitest's own summary last. The exit code is
// non-zero when any stage failed. `--help` tells the options.

import { logDir } from './lib/files.mjs';
import { endChildrenOnSignals } from './lib/process.mjs';
import { runStages } from './lib/stage-runner.mjs';
import { STAGES } from './lib/stages.mjs';

const HELP = `usage: npm test -- [--only STAGE,…] [--skip STAGE,…] [--list]

Stages: ${STAGES.map((stage) => stage.name).join(', ')}
`;

function parse(args) {
  let chosen = STAGES;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--help' || arg === '-h') return { text: HELP, code: 0 };
    if (arg === '--list') return { text: STAGES.map((s) => `${s.name.padEnd(12)} ${s.title}\n`).join(''), code: 0 };
    if (arg !== '--only' && arg !== '--skip') return { text: `test: unknown option ${arg}\n\n${HELP}`, code: 2 };
    const names = (args[++i] ?? '').split(',');
    const unknown = names.find((name) => !STAGES.some((stage) => stage.name === name));
    if (unknown !== undefined) return { text: `test: there is no stage ${unknown}\n\n${HELP}`, code: 2 };
    chosen = chosen.filter((stage) => names.includes(stage.name) === (arg === '--only'));
  }
  return { chosen };
}

const options = parse(process.argv.slice(2));
if (options.text !== undefined) {
  (options.code === 0 ? process.stdout : process.stderr).write(options.text);
  process.exitCode = options.code;
} else {
  endChildrenOnSignals();
  process.exitCode = await runStages(options.chosen, logDir);
}
