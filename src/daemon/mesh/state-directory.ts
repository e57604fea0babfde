// The daemon's directory (docs/mesh.md): node.json, settings.json and netmap.sealed, for its user alone. A file is written beside
// and renamed over the old one when it is on the disk, so a crash at any moment leaves the old or the new, never a piece.

import { accessSync, constants, readFileSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { makeDirectories } from '../../service/directories.ts';
import { sweepPieces, syncDirectory, writeDurably } from '../../service/durable-file.ts';
import { errorCode, errorMessage, StartError } from '../../service/start-error.ts';
import { type LockKind, lockDirectory, type StateLock } from '../../service/state-lock.ts';
import {
  type NodeFile,
  nodeFileSchema,
  type RecentFile,
  recentFileSchema,
  type SettingsFile,
  type StampsFile,
  settingsFileSchema,
  stampsFileSchema,
} from './node-file.ts';
import { ProblemError } from './problem-error.ts';

const NODE = 'node.json';
const SETTINGS = 'settings.json';
const RECENT = 'recent.json';
const STAMPS = 'stamps.json';
const NETMAP = 'netmap.sealed';
const LOCK: LockKind = {
  name: 'daemon',
  help: 'stop that one first, or give this one a --state, a --socket and a --tun of its own',
};
/** A netmap of 100,000 nodes is about 40 MB. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;

export class StateDirectory {
  readonly path: string;
  readonly #lock: StateLock;
  /** Writes follow one another, so that the last one that was asked for is what stays. */
  #writing: Promise<void> = Promise.resolve();

  /** Made when it is missing. Rejects with a StartError when it cannot be used or another daemon uses it. */
  static async open(path: string): Promise<StateDirectory> {
    try {
      makeDirectories(path, 0o700);
      accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
      refuseOpenDirectory(path);
      const lock = await lockDirectory(path, LOCK);
      sweepPieces(path, [NODE, SETTINGS, RECENT, NETMAP]);
      return new StateDirectory(path, lock);
    } catch (error) {
      if (error instanceof StartError) throw error;
      throw unusable(path, errorMessage(error), adviceFor(error, path));
    }
  }

  private constructor(path: string, lock: StateLock) {
    this.path = path;
    this.#lock = lock;
  }

  /** Null when there is none: the machine belongs to no network. Throws a ProblemError when it cannot be read. */
  readNode(): NodeFile | null {
    return this.#readJson(NODE, nodeFileSchema);
  }

  writeNode(file: NodeFile): Promise<void> {
    return this.#write(NODE, Buffer.from(`${JSON.stringify(file, null, 2)}\n`));
  }

  readSettings(): SettingsFile | null {
    return this.#readHelp(SETTINGS, settingsFileSchema);
  }

  writeSettings(file: SettingsFile): Promise<void> {
    return this.#write(SETTINGS, Buffer.from(`${JSON.stringify(file)}\n`));
  }

  readRecent(): RecentFile | null {
    return this.#readHelp(RECENT, recentFileSchema);
  }

  writeRecent(file: RecentFile): Promise<void> {
    return this.#write(RECENT, Buffer.from(`${JSON.stringify(file)}\n`));
  }

  readStamps(): StampsFile | null {
    return this.#readHelp(STAMPS, stampsFileSchema);
  }

  writeStamps(file: StampsFile): Promise<void> {
    return this.#write(STAMPS, Buffer.from(`${JSON.stringify(file)}\n`));
  }

  /** Null when there is none, or none that can be read: it is a help, not a need. */
  readNetmap(): Uint8Array | null {
    try {
      return new Uint8Array(this.#read(NETMAP));
    } catch {
      return null;
    }
  }

  writeNetmap(sealed: Uint8Array): Promise<void> {
    return this.#write(NETMAP, sealed);
  }

  removeNetmap(): Promise<void> {
    return this.#then(async () => {
      rmSync(join(this.path, NETMAP), { force: true });
      await syncDirectory(this.path);
    });
  }

  /** Keys and netmap are overwritten and removed; on flash that is a promise of the file system's, not ours. */
  destroy(): Promise<void> {
    return this.#then(async () => {
      for (const name of [NODE, NETMAP]) await overwrite(join(this.path, name));
      for (const name of [NODE, NETMAP, RECENT, STAMPS]) rmSync(join(this.path, name), { force: true });
      await syncDirectory(this.path);
    });
  }

  /** Lets another daemon have it, once all is written. */
  async close(): Promise<void> {
    await this.#writing.catch(() => undefined);
    this.#lock.release();
  }

  /** Nothing in it is worth refusing to start for. */
  #readHelp<T>(name: string, schema: z.ZodType<T>): T | null {
    try {
      return this.#readJson(name, schema);
    } catch (error) {
      if (error instanceof ProblemError) return null;
      throw error;
    }
  }

  #readJson<T>(name: string, schema: z.ZodType<T>): T | null {
    const path = join(this.path, name);
    try {
      const parsed = schema.safeParse(JSON.parse(this.#read(name).toString('utf8')));
      if (parsed.success) return parsed.data;
      const [issue] = parsed.error.issues;
      throw new Error(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not valid'}`);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return null;
      throw new ProblemError({
        code: 'stateUnusable',
        message: `${path} cannot be read`,
        why: errorMessage(error),
        help: `bring it back from a backup, or begin anew: rm ${path}, and join again with a new link`,
      });
    }
  }

  #read(name: string): Buffer {
    const path = join(this.path, name);
    if (statSync(path).size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`);
    return readFileSync(path);
  }

  /** On the disk when it resolves. Rejects with a ProblemError. */
  #write(name: string, content: Uint8Array): Promise<void> {
    return this.#then(async () => {
      try {
        await writeDurably(this.path, name, content);
      } catch (error) {
        throw new ProblemError({
          code: 'stateUnusable',
          message: `${join(this.path, name)} cannot be written`,
          why: errorMessage(error),
          help: 'see that there is room and that the directory belongs to the user of the daemon',
        });
      }
    });
  }

  #then(work: () => Promise<void>): Promise<void> {
    const done = this.#writing.then(work, work);
    this.#writing = done.catch(() => undefined);
    return done;
  }
}

async function overwrite(path: string): Promise<void> {
  try {
    const { size } = statSync(path);
    const file = await open(path, 'r+');
    try {
      await file.write(Buffer.alloc(Math.min(size, FILE_BYTES_MAX)), 0, undefined, 0);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

function refuseOpenDirectory(path: string): void {
  const { mode, uid } = statSync(path);
  if ((mode & 0o022) === 0 && (uid === 0 || uid === process.geteuid?.())) return;
  throw unusable(
    path,
    'others than its user may write to it, and it is where private keys are kept',
    `chown root ${path} && chmod 700 ${path}`,
  );
}

function unusable(path: string, why: string, help: string): StartError {
  return new StartError({ what: `cannot use the state directory ${path}`, why, help });
}

function adviceFor(error: unknown, path: string): string {
  switch (errorCode(error)) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'run as root, or choose a directory that you may write to with --state DIR';
    case 'ENOTDIR':
    case 'EEXIST':
      return `a file is in the way: choose another directory with --state DIR`;
    default:
      return `see that ${path} can be made and has room`;
  }
}
