// One commit after another, in the order of the calls. Commits that wait behind one that fails are refused with it: they
// were decided upon a state that does not come. Bounded: a store that has stopped answering must not collect them.

import { COMMITS_WAITING_MAX } from './limits.ts';
import { StoreError } from './store-error.ts';

interface Waiting {
  /** Resolves the caller's promise itself. */
  readonly work: () => Promise<void>;
  readonly refuse: (error: unknown) => void;
}

export class CommitQueue {
  #waiting: Waiting[] = [];
  #running: Promise<void> | null = null;

  run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting.length >= COMMITS_WAITING_MAX) return Promise.reject(overloaded());
    return new Promise((resolve, refuse) => {
      this.#waiting.push({ work: async () => resolve(await work()), refuse });
      this.#running ??= this.#drain();
    });
  }

  /** Resolves when nothing is under way or waiting. */
  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #drain(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      try {
        await next.work();
      } catch (error) {
        const behind = this.#waiting;
        this.#waiting = [];
        next.refuse(error);
        for (const { refuse } of behind) refuse(afterFailure(error));
      }
    }
    this.#running = null;
  }
}

function overloaded(): StoreError {
  return new StoreError({
    code: 'overloaded',
    what: 'the change was not stored',
    why: `${COMMITS_WAITING_MAX} commits are waiting for the database already`,
    help: 'see whether the database answers; then try again',
  });
}

function afterFailure(cause: unknown): StoreError {
  return new StoreError(
    {
      code: 'afterFailure',
      what: 'the change was not stored',
      why: 'the commit before it failed',
      help: 'mend what made that one fail, then try again',
    },
    cause,
  );
}
