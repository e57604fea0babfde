// Whether a process listens on a unix socket: how a file that a crash has left is told from one that is in use, for locks and for
// sockets that a new process wants to replace.

import { connect } from 'node:net';
import { errorCode } from './start-error.ts';

const PROBE_LIMIT_MS = 2000;

/** Whether someone listens on the socket. Any doubt (no permission, a full backlog) counts as yes. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    const tell = (answer: boolean): void => {
      probe.destroy();
      resolve(answer);
    };
    probe.setTimeout(PROBE_LIMIT_MS, () => tell(true));
    probe.once('connect', () => tell(true));
    probe.once('error', (error) => tell(!['ECONNREFUSED', 'ENOENT'].includes(errorCode(error) ?? '')));
  });
}
