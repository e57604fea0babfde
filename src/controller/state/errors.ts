// The texts of every error that a node is told: what happened, why, and what to do next. Programs go by the code; the words
// may change. No text holds anything that came from the node.

import type { ControlError, ErrorCode } from '../../protocol/control.ts';

interface Text {
  readonly message: string;
  readonly help: string;
}

const TEXTS: Readonly<Record<ErrorCode, Text>> = {
  unregistered: {
    message:
      'This machine does not belong to the network: the controller does not know its key, and no auth key came with it.',
    help: 'Make a join link on the controller with `warren keys create`, then run `warren up --join LINK` here.',
  },
  authKeyInvalid: {
    message: 'The join link was refused: the controller knows no such auth key.',
    help: 'Check that the link is whole and from this network, or make another with `warren keys create` on the controller.',
  },
  authKeyExpired: {
    message: 'The join link was refused: its auth key has expired.',
    help: 'Make another with `warren keys create` on the controller; `--expires` sets how long it lasts.',
  },
  authKeyUsed: {
    message: 'The join link was refused: its auth key lets in one machine, and one has used it.',
    help: 'Make another with `warren keys create` on the controller; with `--reusable` it lets in many.',
  },
  authKeyRevoked: {
    message: 'The join link was refused: an administrator has revoked its auth key.',
    help: 'Ask for another; `warren keys create` on the controller makes one.',
  },
  nodeExpired: {
    message: "This machine's membership of the network has expired.",
    help: 'Join again with `warren up --join LINK`; its addresses and name are kept. `warren keys create` on the controller makes a link.',
  },
  nodeDisabled: {
    message: 'An administrator has disabled this machine.',
    help: 'Ask an administrator of the network to enable it again; it connects by itself then, and a join link is of no use until then.',
  },
  nodeRemoved: {
    message: 'This machine was removed from the network.',
    help: 'To come back as a new machine, run `warren up --join LINK` with a link from `warren keys create` on the controller.',
  },
  addressesExhausted: {
    message: 'The network is full: every address of its range belongs to a machine.',
    help: 'Remove machines that are no longer used: `warren nodes list` and `warren nodes remove` on the controller.',
  },
  keyInUse: {
    message: 'The new key was refused: another machine of the network has it.',
    help: 'Keys must not be copied between machines. Another key is made at the next attempt.',
  },
  versionTooOld: {
    message: 'This version of Warren is too old for the controller of its network.',
    help: 'Install a newer version of Warren on this machine.',
  },
  rateLimited: {
    message: 'The controller was asked too often from here and answers later.',
    help: 'Nothing is lost; wait and try again. After several join links that were refused, check the link first.',
  },
  malformed: {
    message: 'The controller could not make sense of a message from this machine.',
    help: 'Compare the versions with `warren version` on both sides; if they fit, please report it.',
  },
  replaced: {
    message: 'This machine has connected again, and the newer connection counts.',
    help: 'If that repeats, two machines share one key: run `warren logout` on one of them and join it by itself.',
  },
  goingAway: {
    message: 'The controller is stopping or restarting.',
    help: 'Nothing needs to be done: established sessions go on, and this machine connects again by itself.',
  },
  internal: {
    message: 'The controller could not store the change, so nothing was changed.',
    help: 'This machine tries again by itself. If it goes on, look at the log and the disk of the controller.',
  },
};

/** Those after which the connection stays. */
const CONTINUING: readonly ErrorCode[] = ['keyInUse', 'rateLimited'];

export function closesAfter(code: ErrorCode): boolean {
  return !CONTINUING.includes(code);
}

export function controlError(code: ErrorCode, retryAfterMs: number | null = null): ControlError {
  const { message, help } = TEXTS[code];
  return { type: 'error', code, message, help, retryAfterMs };
}

export const PENDING = {
  type: 'pending',
  message: 'This machine is registered and waits for the approval of an administrator.',
  help: 'On the controller: `warren nodes list` shows it, `warren nodes approve` lets it in. It connects by itself then.',
} as const;
