// Files that a crash at any moment leaves as they were or as they are to be, never in pieces: written beside, renamed over the old one
// when they are on the disk. For their owner alone. Leaves out locking: one process writes to a directory (state-lock.ts).

import { readdirSync, rmSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';

let written = 0;

/** On the disk when it resolves. Rejects with a system error, and leaves the old file then. */
export async function writeDurably(directory: string, name: string, content: Uint8Array): Promise<void> {
  const beside = join(directory, `.${name}.${process.pid}.${written++}`);
  try {
    const file = await open(beside, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, join(directory, name));
    await syncDirectory(directory);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}

/** A rename or a removal is on the disk when its directory is. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Removes the pieces of writes of these files that a crash has cut short. */
export function sweepPieces(directory: string, names: readonly string[]): void {
  for (const entry of readdirSync(directory)) {
    const piece = /^\.(.+)\.\d+\.\d+$/.exec(entry);
    if (piece !== null && names.includes(piece[1] as string)) rmSync(join(directory, entry), { force: true });
  }
}
