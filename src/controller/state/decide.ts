// What a command changes, or why it is refused. Reads the state as left by the commands before it and writes nothing; what
// it needs of the world around the state comes in as `Surroundings`.

import { unreachable } from '../../base/assert.ts';
import type { Command, Decision } from './commands.ts';
import { decideAdmin } from './decide-admin.ts';
import { decideExpiry, decidePresence, decideSweep, decideTokenUsed } from './decide-due.ts';
import { decideCandidates, decideGoodbye, decideRotateKey } from './decide-node.ts';
import { decideRegister } from './decide-register.ts';
import type { StateView } from './state-view.ts';
import type { Surroundings } from './surroundings.ts';

export function decide(view: StateView, command: Command, around: Surroundings): Decision {
  switch (command.kind) {
    case 'admin':
      return decideAdmin(view, command.command, command.actor, around);
    case 'register':
      return decideRegister(view, command.speaker, command.message, around);
    case 'candidates':
      return decideCandidates(view, command.speaker, command.whereabouts, around);
    case 'rotateKey':
      return decideRotateKey(view, command.speaker, command.publicKey, around);
    case 'goodbye':
      return decideGoodbye(view, command.speaker, command.reason, around);
    case 'presence':
      return decidePresence(view, command.nodes, around);
    case 'expiry':
      return decideExpiry(view, command.nodes, around);
    case 'sweep':
      return decideSweep(view, command.nodes, around);
    case 'tokenUsed':
      return decideTokenUsed(view, command.id, around);
    default:
      return unreachable(command);
  }
}
