// What PostgreSQL and the network say, as a StoreError with what to do about it. Errors that mean a bug of ours pass as
// they are. SQLSTATE codes are those of PostgreSQL's appendix A.

import { codeOf, messageOf, StoreError, type StoreProblem } from './store-error.ts';

const SQLSTATE = /^[0-9A-Z]{5}$/;

/** The server has answered: whatever was asked did not happen. Otherwise only the connection is known to have failed. */
export function isServerAnswer(error: unknown): boolean {
  const code = codeOf(error);
  // Class 57P and 08 are the server or something before it ending the connection.
  return SQLSTATE.test(code) && !code.startsWith('57P') && !code.startsWith('08') && !code.startsWith('E');
}

/** `shown`: the URL without its password. */
export function postgresError(error: unknown, shown: string): unknown {
  if (error instanceof StoreError) return error;
  const problem = problemOf(error, shown);
  return problem === null ? error : new StoreError(problem, error);
}

function problemOf(error: unknown, shown: string): StoreProblem | null {
  const code = codeOf(error);
  const why = messageOf(error);
  if (code === '28P01' || code === '28000') {
    return {
      code: 'denied',
      what: `${shown} does not let us in`,
      why,
      help: 'check user and password (in the URL, PGPASSWORD or PGPASSFILE) and pg_hba.conf on the server',
    };
  }
  if (code === '3D000') {
    return {
      code: 'unreachable',
      what: `${shown} does not exist`,
      why,
      help: 'make it: createdb NAME, owned by the user of the URL',
    };
  }
  if (code === '42501') {
    return {
      code: 'notWritable',
      what: `${shown} does not let us make or write our tables`,
      why,
      help: 'let the user of the URL own the database, or grant it CREATE on it',
    };
  }
  if (code === '25006') {
    return {
      code: 'notWritable',
      what: `${shown} is read-only`,
      why,
      help: 'name the primary server, not a standby',
    };
  }
  if (code.startsWith('53') && code !== '53300') {
    return {
      code: 'full',
      what: `${shown} could not be written`,
      why,
      help: 'free some space on the server; what was stored before is intact',
    };
  }
  if (code === 'XX001' || code === 'XX002') {
    return { code: 'corrupt', what: `${shown} is damaged`, why, help: "restore the server's backup" };
  }
  if (!isServerAnswer(error) || code === '53300') {
    if (code === '' && !/timeout|terminated|connection|closed/i.test(why)) return null;
    return {
      code: 'unreachable',
      what: `${shown} cannot be reached`,
      why: why === '' ? code : why,
      help: 'see whether the server runs and listens there, then try again',
    };
  }
  return null;
}
