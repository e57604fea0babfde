// What every section of the bench is given, and the limit within which it has to end.

import type { PathNode } from './path-node.ts';

export interface Bench {
  readonly rounds: number;
  /** Of a link, one way. */
  readonly delayMs: number;
  readonly debug: boolean;
  readonly quick: boolean;
  /** Of a section's parts; empty: all. */
  readonly only: readonly string[];
  /** flow.c, compiled. */
  readonly flow: string;
  readonly say: (text: string) => void;
  /** Keeps what the daemons say of a round that missed its target, where that is wanted. */
  readonly diagnose: (name: string, nodes: readonly [PathNode, PathNode], about: unknown) => Promise<void>;
}

/** Rejects when `work` has not ended by then; what it has made goes with its laboratory, or with the process. */
export async function within<T>(what: string, limitMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not end within ${limitMs / 1_000} s`)), limitMs);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
