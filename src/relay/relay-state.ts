// The relay's directory, for its user alone: relay.json (its key, the secret of its slots, which controller it belongs to), the last
// netmap, sealed, so that it serves while the controller is away, and what was used of quotas today. One relay per directory.

import { getRandomValues, randomBytes } from 'node:crypto';
import { accessSync, constants, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { WallTime } from '../base/instant.ts';
import { nodeProvider } from '../crypto/node.ts';
import type { SavedNetmap } from '../mesh/netmap.ts';
import { openNetmap, SEALED_BYTES_MAX, sealNetmap } from '../mesh/sealed-netmap.ts';
import { makeDirectories } from '../service/directories.ts';
import { sweepPieces, syncDirectory, writeDurably } from '../service/durable-file.ts';
import { errorCode, errorMessage, StartError } from '../service/start-error.ts';
import { lockDirectory, type StateLock } from '../service/state-lock.ts';
import type { SavedUsage } from './engine/daily-usage.ts';
import { SLOT_SECRET_BYTES } from './engine/slots.ts';

const RELAY = 'relay.json';
const NETMAP = 'netmap.sealed';
const USAGE = 'usage.json';
const KEY_BYTES = 32;

/** 32 bytes, base64. */
const secretSchema = z.string().regex(/^[A-Za-z0-9+/]{43}=$/);

const relayFileSchema = z.object({
  format: z.literal(1),
  privateKey: secretSchema,
  slotSecret: secretSchema,
  controller: z.object({ url: z.string(), key: z.string() }),
  /** Of the join link, until the controller has let us in. */
  authKey: z.string().nullable().default(null),
  /** Whether the controller has let us in once. */
  joined: z.boolean().default(false),
});
export type RelayFile = z.output<typeof relayFileSchema>;

const usageSchema = z.object({ day: z.int().min(0), bytes: z.record(z.string(), z.number().min(0)) });

export class RelayState {
  readonly path: string;
  readonly #lock: StateLock;
  /** Writes follow one another, so that the last one that was asked for is what stays. */
  #writing: Promise<void> = Promise.resolve();

  /** Made when it is missing. Rejects with a StartError when it cannot be used or another relay uses it. */
  static async open(path: string): Promise<RelayState> {
    try {
      makeDirectories(path, 0o700);
      accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
      refuseOpenDirectory(path);
      const lock = await lockDirectory(path, {
        name: 'relay',
        help: 'stop that one first, or give this one a --state and a --port of its own',
      });
      sweepPieces(path, [RELAY, NETMAP, USAGE]);
      return new RelayState(path, lock);
    } catch (error) {
      if (error instanceof StartError) throw error;
      const refused = ['EACCES', 'EPERM', 'EROFS'].includes(errorCode(error) ?? '');
      throw unusable(
        path,
        refused ? 'this user may not write there' : errorMessage(error),
        'run it as the owner of that directory, or name another with --state DIR',
      );
    }
  }

  private constructor(path: string, lock: StateLock) {
    this.path = path;
    this.#lock = lock;
  }

  /** Null when there is none: it belongs to no network. Throws a StartError when it cannot be read. */
  read(): RelayFile | null {
    const path = join(this.path, RELAY);
    try {
      const parsed = relayFileSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
      if (parsed.success) return parsed.data;
      const [issue] = parsed.error.issues;
      throw new Error(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not valid'}`);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return null;
      throw new StartError({
        what: `cannot read ${path}`,
        why: errorMessage(error),
        help: `bring it back from a backup, or begin anew: rm ${path}, and join again with a new link`,
      });
    }
  }

  write(file: RelayFile): Promise<void> {
    return this.#then(() => writeDurably(this.path, RELAY, Buffer.from(`${JSON.stringify(file, null, 2)}\n`)));
  }

  /** Null when there is none that is of use: it is a help, not a need. */
  readNetmap(file: RelayFile): SavedNetmap | null {
    const path = join(this.path, NETMAP);
    const privateKey = keyBytes(file.privateKey);
    try {
      if (statSync(path).size > SEALED_BYTES_MAX) return null;
      const sealed = new Uint8Array(readFileSync(path));
      const opened = openNetmap(sealed, { crypto: nodeProvider, privateKey, now: Date.now() as WallTime });
      return opened.ok ? opened.netmap : null;
    } catch {
      return null;
    } finally {
      privateKey.fill(0);
    }
  }

  writeNetmap(file: RelayFile, netmap: SavedNetmap): Promise<void> {
    const privateKey = keyBytes(file.privateKey);
    const sealed = sealNetmap(netmap, {
      crypto: nodeProvider,
      privateKey,
      now: Date.now() as WallTime,
      random: (out) => {
        getRandomValues(out);
      },
    });
    privateKey.fill(0);
    return this.#then(() => writeDurably(this.path, NETMAP, sealed));
  }

  removeNetmap(): Promise<void> {
    return this.#then(async () => {
      rmSync(join(this.path, NETMAP), { force: true });
      await syncDirectory(this.path);
    });
  }

  readUsage(): SavedUsage | null {
    try {
      const parsed = usageSchema.safeParse(JSON.parse(readFileSync(join(this.path, USAGE), 'utf8')));
      return parsed.success ? parsed.data : null;
    } catch {
      return null;
    }
  }

  writeUsage(usage: SavedUsage): Promise<void> {
    return this.#then(() => writeDurably(this.path, USAGE, Buffer.from(`${JSON.stringify(usage)}\n`)));
  }

  /** Lets another relay have it, once all is written. */
  async close(): Promise<void> {
    await this.#writing.catch(() => undefined);
    this.#lock.release();
  }

  #then(work: () => Promise<void>): Promise<void> {
    const done = this.#writing.then(work, work);
    this.#writing = done.catch(() => undefined);
    return done;
  }
}

/** Of a relay that has not joined yet. */
export function newRelayFile(controller: RelayFile['controller'], authKey: string): RelayFile {
  return {
    format: 1,
    privateKey: randomBytes(KEY_BYTES).toString('base64'),
    slotSecret: randomBytes(SLOT_SECRET_BYTES).toString('base64'),
    controller,
    authKey,
    joined: false,
  };
}

/** Owned by the caller, who zeroes it. */
export function keyBytes(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

function refuseOpenDirectory(path: string): void {
  const { mode, uid } = statSync(path);
  if ((mode & 0o022) === 0 && (uid === 0 || uid === process.geteuid?.())) return;
  const why = 'others than its user may write to it, and it is where private keys are kept';
  throw unusable(path, why, `chown it to the user of the relay, and chmod 700 ${path}`);
}

function unusable(path: string, why: string, help: string): StartError {
  return new StartError({ what: `cannot use the state directory ${path}`, why, help });
}
