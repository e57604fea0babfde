// Why a link to the controller did not come about or ended, told so that a person knows what to look at: the name, the
// network, the port, a proxy, TLS, or the key. Node's errors in, one sentence out.

import type { CloseReason } from '../mesh/control-client.ts';

export type LinkFailureCause =
  | 'nameNotFound'
  | 'nameServer'
  | 'refused'
  | 'noRoute'
  | 'timeout'
  | 'tls'
  | 'httpStatus'
  | 'notHttp'
  | 'keyMismatch' // it answered, under another key
  | 'keyRefused' // it says that we asked for another key
  | 'endedEarly'
  | 'protocol'
  | 'stuck'
  | 'ended'
  | 'network';

export interface LinkFailure extends CloseReason {
  readonly cause: LinkFailureCause;
}

/** `url` is the controller's; `detail` what is known beyond the cause. */
export function linkFailure(cause: LinkFailureCause, url: string, detail = ''): LinkFailure {
  const [code, message] = describe(cause, url, detail);
  return { code, cause, message };
}

/** What ws or Node says before the channel is there, and when a socket breaks. */
export function transportFailure(error: Error, url: string): LinkFailure {
  const code = codeOf(error);
  const cause = causeOf(code, error.message);
  return linkFailure(cause, url, code === '' ? error.message : code);
}

function describe(cause: LinkFailureCause, url: string, detail: string): [CloseReason['code'], string] {
  const at = `the controller at ${url}`;
  switch (cause) {
    case 'nameNotFound':
      return ['unreachable', `the name of ${at} does not exist; check the join link and this machine's DNS`];
    case 'nameServer':
      return ['unreachable', `the name of ${at} cannot be looked up: DNS does not answer (${detail})`];
    case 'refused':
      return ['unreachable', `${at} refuses connections: nothing listens there, or a firewall says no`];
    case 'noRoute':
      return ['unreachable', `there is no way to ${at} from here (${detail})`];
    case 'timeout':
      return ['unreachable', `${at} does not answer: it is away, or a firewall drops what is sent`];
    case 'tls':
      return ['rejected', `TLS with ${at} failed (${detail}): does it speak HTTPS on that port?`];
    case 'httpStatus':
      return [
        'rejected',
        `what answers at ${url} is not a controller, or a proxy before it does not pass WebSockets (HTTP ${detail})`,
      ];
    case 'notHttp':
      return ['rejected', `what answers at ${url} does not speak HTTP; is the controller behind TLS?`];
    case 'keyMismatch':
      return ['keyMismatch', `${at} has another key than the join link says: it was made anew, or somebody is between`];
    case 'keyRefused':
      return ['keyMismatch', `${at} says that it has another key than the join link names: was it made anew?`];
    case 'endedEarly':
      return ['unreachable', `${at} ended the connection before it was set up`];
    case 'protocol':
      return ['malformed', `${at} broke the protocol (${detail}); compare the versions with: warren version`];
    case 'stuck':
      return ['closed', `${at} takes nothing more`];
    case 'ended':
      return ['closed', `${at} ended the connection`];
    case 'network':
      return ['unreachable', `the connection to ${at} broke (${detail})`];
  }
}

/** Of several attempts (one for each address) the most telling: an answer counts more than silence. */
function codeOf(error: Error): string {
  const attempts = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  const codes = attempts.map((attempt) =>
    attempt instanceof Error && 'code' in attempt && typeof attempt.code === 'string' ? attempt.code : '',
  );
  return codes.find((code) => code === 'ECONNREFUSED') ?? codes.find((code) => code !== '') ?? '';
}

const NO_ROUTE = ['ENETUNREACH', 'EHOSTUNREACH', 'EADDRNOTAVAIL', 'ENETDOWN', 'EACCES', 'EPERM'];

function causeOf(code: string, message: string): LinkFailureCause {
  if (code === 'ENOTFOUND') return 'nameNotFound';
  if (code === 'EAI_AGAIN' || code.startsWith('EAI_') || code === 'EREFUSED') return 'nameServer';
  if (code === 'ECONNREFUSED') return 'refused';
  if (NO_ROUTE.includes(code)) return 'noRoute';
  if (code === 'ETIMEDOUT') return 'timeout';
  if (code === 'EPROTO' || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) return 'tls';
  if (code.startsWith('HPE_')) return 'notHttp';
  if (code.startsWith('WS_ERR') || message.startsWith('Invalid WebSocket frame')) return 'protocol';
  if (message.startsWith('Invalid Sec-WebSocket') || message.startsWith('Invalid Upgrade')) return 'httpStatus';
  return 'network';
}
