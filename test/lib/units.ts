// Reads the systemd units of packaging/ as far as tests want to know what is in them. Leaves out continued lines and drop-ins,
// which ours do not have.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const UNIT_DIRECTORY = fileURLToPath(new URL('../../packaging/systemd', import.meta.url));

export class Unit {
  readonly file: string;
  readonly text: string;
  readonly #values = new Map<string, string[]>();

  constructor(file: string) {
    this.file = file;
    this.text = readFileSync(join(UNIT_DIRECTORY, file), 'utf8');
    for (const line of this.text.split('\n')) {
      const match = /^([A-Za-z]+)=(.*)$/.exec(line);
      if (match === null) continue;
      const [, name, value] = match as unknown as [string, string, string];
      this.#values.set(name, [...(this.#values.get(name) ?? []), value]);
    }
  }

  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** The one value; throws when there is none or more. */
  one(name: string): string {
    const [value, ...more] = this.all(name);
    if (value === undefined || more.length > 0) throw new Error(`${this.file} has not one ${name}=`);
    return value;
  }
}

export const unitFiles = (): string[] => readdirSync(UNIT_DIRECTORY).filter((name) => name.endsWith('.service'));
