// The system's own `ping`, one packet every 20 ms: which were answered, which were lost, and for how long nothing came. Only packets
// before the last answer are judged, since later ones may still be on the way.

import { until } from './stage.mjs';

export const EVERY_MS = 20;
const END_LIMIT_MS = 5_000;

export class SteadyPing {
  #child;
  #text = '';

  constructor(world, from, address) {
    this.#child = world.start(from, ['ping', '-n', '-D', '-i', `${EVERY_MS / 1_000}`, address]);
    this.#child.stdout.on('data', (text) => {
      this.#text += text;
    });
  }

  /** Since it began: `{ sequence, atMs }` of each answer; `atMs` on the wall clock. */
  get answers() {
    const lines = this.#text.matchAll(/^\[(\d+\.\d+)\] \d+ bytes from .* icmp_seq=(\d+) /gm);
    return [...lines].map(([, at, sequence]) => ({ sequence: Number(sequence), atMs: Number(at) * 1_000 }));
  }

  async stop() {
    this.#child.kill('SIGINT');
    await until('ping sums up', END_LIMIT_MS, () => /packets transmitted/.test(this.#text));
    const { answers } = this;
    const last = Math.max(0, ...answers.map(({ sequence }) => sequence));
    const answered = new Set(answers.map(({ sequence }) => sequence));
    let gapMs = 0;
    for (let i = 1; i < answers.length; i++) gapMs = Math.max(gapMs, answers[i].atMs - answers[i - 1].atMs);
    return { sent: last, lost: last - answered.size, gapMs };
  }
}
