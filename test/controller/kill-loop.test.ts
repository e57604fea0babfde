// `kill -9` of the controller's process, 200 times on one data directory: lib/kill-loop.ts.

import { test } from 'vitest';
import { killAgainAndAgain } from './lib/kill-loop.ts';

const LIVES = 200;

test(`${LIVES} lives, each ended by kill -9`, { timeout: 540_000 }, () => killAgainAndAgain(LIVES, null));
