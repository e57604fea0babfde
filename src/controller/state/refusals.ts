// The texts of what an administrator is refused: what happened, why, and what to do next, as the REST API and the CLI print
// them.

import type { AdminAnswer, Refusal, RefusalCode } from './commands.ts';

const TEXTS: Readonly<Record<RefusalCode, Omit<Refusal, 'code' | 'message'>>> = {
  nodeNotFound: { why: 'It was removed, or never was there.', help: '`warren nodes list` shows those that are there.' },
  keyNotFound: { why: 'The controller never made it.', help: '`warren keys list` shows those that are there.' },
  tokenNotFound: { why: 'The controller never made it.', help: '`warren tokens list` shows those that are there.' },
  nameTaken: { why: 'Names are unique in a network.', help: 'Choose another, or rename the other node first.' },
  addressInvalid: {
    why: 'It must be inside the range of the network and its family; the first two and the last of the range are kept.',
    help: 'Choose another address of the range.',
  },
  addressTaken: { why: 'Addresses are unique in a network.', help: 'Choose another, or change the other node first.' },
  tooMany: { why: 'The controller keeps a limited number of them.', help: 'Use one that is there.' },
  busy: { why: 'The store is slower than what is asked.', help: 'Try again in a moment.' },
  internal: {
    why: 'The store has failed; nothing was changed.',
    help: "Look at the controller's log and disk, then try again.",
  },
};

const MESSAGES = {
  busy: 'Too many commands are waiting.',
  internal: 'The change could not be stored.',
} as const;

/** `message`: what happened, in a sentence. */
export function refuse(code: RefusalCode, message: string): AdminAnswer {
  return { ok: false, refusal: { code, message, ...TEXTS[code] } };
}

export function refuseAtOnce(code: keyof typeof MESSAGES): AdminAnswer {
  return refuse(code, MESSAGES[code]);
}
