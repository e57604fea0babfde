// Has a command carried out by the core and waits until it is durable. What the state refuses becomes an ApiFailure with
// the state's own code and texts.

import type { AdminCommand, AdminResult, RefusalCode } from '../state/commands.ts';
import { ApiFailure } from './api-failure.ts';
import type { AdminDeps } from './deps.ts';
import type { Requester } from './route.ts';

const STATUS: Readonly<Record<RefusalCode, number>> = {
  nodeNotFound: 404,
  keyNotFound: 404,
  tokenNotFound: 404,
  nameTaken: 409,
  addressInvalid: 422,
  addressTaken: 409,
  tooMany: 409,
  busy: 503,
  internal: 503,
};

type ResultOf<K extends AdminResult['kind']> = Extract<AdminResult, { readonly kind: K }>;

interface Asked {
  readonly deps: AdminDeps;
  readonly requester: Requester;
}

/** `kind`: what the command gives. Throws ApiFailure. */
export async function carryOut<K extends AdminResult['kind']>(
  { deps, requester }: Asked,
  command: AdminCommand,
  kind: K,
): Promise<ResultOf<K>> {
  const answer = await deps.administer(command, requester.actor);
  if (!answer.ok) throw new ApiFailure(STATUS[answer.refusal.code], answer.refusal);
  if (!isKind(answer.result, kind)) throw new Error(`${command.action} gave ${answer.result.kind}, not ${kind}`);
  return answer.result;
}

function isKind<K extends AdminResult['kind']>(result: AdminResult, kind: K): result is ResultOf<K> {
  return result.kind === kind;
}
