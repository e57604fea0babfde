// The work behind `warren controller restore`: a backup becomes the database of a controller that is stopped. What is checked and
// how the old database is kept is the store's (store/restore.ts).

import { type StartFailure, startFailureOf } from '../service/start-error.ts';
import { restoreBackup } from './store/restore.ts';

export interface RestoreReport {
  readonly network: string;
  readonly nodes: number;
  /** Where the database that was there before is now; null when there was none. */
  readonly replaced: string | null;
}

export type RestoreOutcome =
  | { readonly kind: 'restored'; readonly report: RestoreReport }
  | { readonly kind: 'failed'; readonly failure: StartFailure };

/** `force`: replace a database that is there. */
export async function restore(file: string, dataDirectory: string, force: boolean): Promise<RestoreOutcome> {
  try {
    const { settings, nodes, replaced } = await restoreBackup(file, dataDirectory, { force });
    return { kind: 'restored', report: { network: settings.networkName, nodes, replaced } };
  } catch (error) {
    const failure = startFailureOf(error);
    if (failure === null) throw error;
    return { kind: 'failed', failure };
  }
}
