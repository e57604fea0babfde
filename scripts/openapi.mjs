#!/usr/bin/env node
// Writes docs/openapi.json, the description of the controller's REST API, from the built route table. A test fails when the file
// is not what the table says. `--stdout` prints it instead.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './lib/files.mjs';

const { openApi } = await import(join(root, 'dist', 'controller', 'admin', 'routes.js'));
const text = `${JSON.stringify(openApi(), null, 2)}\n`;
if (process.argv.includes('--stdout')) process.stdout.write(text);
else writeFileSync(join(root, 'docs', 'openapi.json'), text);
