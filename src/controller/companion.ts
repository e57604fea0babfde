// What may run in the controller's process beside it: a relay, which knows nothing of the controller, nor the controller of it. It is
// given what stands here, comes to nodes through the controller's port and metrics, and ends with it. Types alone.

import type { Log } from '../service/log.ts';
import type { UpgradeDoor } from '../service/upgrade-door.ts';

/** What a companion is given. */
export interface ControllerInside {
  /** Where nodes reach the controller. */
  readonly url: string;
  /** Where this process reaches it, and its key as join links have it. */
  readonly loopback: { readonly url: string; readonly key: string };
  /** A link over the loopback for one machine with these tags, approved, for a few minutes. Nobody else sees it. */
  readonly joinLink: (tags: readonly string[]) => Promise<string>;
  readonly log: Log;
}

export interface Companion {
  /** What it lets in through the controller's port. */
  readonly doors: readonly UpgradeDoor[];
  /** In the text format of Prometheus, under names of its own. */
  metrics(): Promise<string>;
  stop(): Promise<void>;
}

/** Null: there is none after all. */
export type StartCompanion = (inside: ControllerInside) => Promise<Companion | null>;
