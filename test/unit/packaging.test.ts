// The systemd units against the program that they start: its commands, options, directories and what it tells systemd; and
// against systemd's own opinion of them, where systemd-analyze is there.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { main } from '../../src/cli/main.ts';
import {
  DATA_DIR_DEFAULT,
  RELAY_STATE_DIR_DEFAULT,
  SOCKET_PATH_DEFAULT,
  STATE_DIR_DEFAULT,
} from '../../src/protocol/paths.ts';
import { UNIT_DIRECTORY, Unit, unitFiles } from '../lib/units.ts';

const PACKAGING = dirname(UNIT_DIRECTORY);
const DAEMON = new Unit('warren-daemon.service');
const CONTROLLER = new Unit('warren-controller.service');
const RELAY = new Unit('warren-relay.service');
const WG = new Unit('warren-wg@.service');
const UNITS = [DAEMON, CONTROLLER, RELAY, WG];

/** The command lines that start us: of the unit, and those that its comments tell people to write. */
function commandLines(unit: Unit): string[][] {
  return [...unit.text.matchAll(/(?:ExecStart=|`)(warren [^`\n]+)/g)].map((match) => (match[1] as string).split(/\s+/));
}

/** Words of a command line (without `warren`) that the program does not know. */
async function unknownWords(args: readonly string[]): Promise<string[]> {
  let text = '';
  const take = (more: string): void => {
    text += more;
  };
  const firstOption = args.findIndex((word) => word.startsWith('-') || word.startsWith('%'));
  const command = firstOption < 0 ? args : args.slice(0, firstOption);
  const argv = [...command, '--help'];
  const code = await main(argv, 'warren', { env: {}, argv, out: take, error: take, interactive: false });
  if (code !== 0) return [...command];
  const offered: readonly string[] = text.match(/(?<=[\s,])--?[a-z][a-z-]*/g) ?? [];
  return args.filter((word) => word.startsWith('-') && !offered.includes(word));
}

describe('the units', () => {
  it('are those that there are', () => {
    expect(unitFiles().sort()).toEqual(UNITS.map((unit) => unit.file).sort());
  });

  it.each(UNITS)('name commands and options that exist: $file', async (unit) => {
    const lines = commandLines(unit);
    expect(lines.length).toBeGreaterThan(0);
    for (const [program, ...args] of lines) {
      expect(program).toBe('warren');
      expect(await unknownWords(args), args.join(' ')).toEqual([]);
    }
  });

  it('would be found out if they named others', async () => {
    expect(await unknownWords(['daemon', '--port', '1', '--port-range', '1-2'])).toEqual(['--port-range']);
    expect(await unknownWords(['wg', '-x', '%i'])).toEqual(['-x']);
    expect(await unknownWords(['demon', '--port', '1'])).toEqual(['demon']);
  });

  it('make the directories that the commands use unless told otherwise', () => {
    expect(`/var/lib/${DAEMON.one('StateDirectory')}`).toBe(STATE_DIR_DEFAULT);
    expect(`/run/${DAEMON.one('RuntimeDirectory')}/${basename(SOCKET_PATH_DEFAULT)}`).toBe(SOCKET_PATH_DEFAULT);
    expect(`/var/lib/${CONTROLLER.one('StateDirectory')}`).toBe(DATA_DIR_DEFAULT);
    expect(WG.one('RuntimeDirectory')).toBe('wireguard');
    expect(`/var/lib/${RELAY.one('StateDirectory')}`).toBe(RELAY_STATE_DIR_DEFAULT);
    for (const unit of [DAEMON, CONTROLLER, RELAY]) expect(unit.one('StateDirectoryMode')).toBe('0700');
  });

  it('name users and groups that sysusers.d makes, and directories that tmpfiles.d makes', () => {
    const sysusers = readFileSync(join(PACKAGING, 'sysusers.d', 'warren.conf'), 'utf8');
    expect(sysusers).toMatch(new RegExp(`^g ${DAEMON.one('SupplementaryGroups')} `, 'm'));
    expect(sysusers).toMatch(new RegExp(`^u ${CONTROLLER.one('User')} .* ${DATA_DIR_DEFAULT}$`, 'm'));
    expect(sysusers).toMatch(new RegExp(`^u ${RELAY.one('User')} .* ${RELAY_STATE_DIR_DEFAULT}$`, 'm'));
    const tmpfiles = readFileSync(join(PACKAGING, 'tmpfiles.d', 'warren.conf'), 'utf8');
    expect(tmpfiles).toMatch(new RegExp(`^d ${dirname(DATA_DIR_DEFAULT)} `, 'm'));
    expect(tmpfiles).toMatch(new RegExp(`^d ${RELAY_STATE_DIR_DEFAULT} 0700 ${RELAY.one('User')} `, 'm'));
  });

  it.each(UNITS)('wait for what the process tells, and do not try wrong arguments again: $file', (unit) => {
    expect(unit.one('Type')).toBe('notify');
    expect(unit.one('RestartPreventExitStatus')).toBe('2');
    expect(unit.one('WatchdogSec')).toBe('60s');
  });

  it('keep the join link of the first start out of the journal', () => {
    expect(CONTROLLER.one('StandardOutput')).toBe('null');
  });
});

const hasAnalyze = spawnSync('systemd-analyze', ['--version'], { stdio: 'ignore' }).status === 0;

describe.runIf(hasAnalyze)('systemd', () => {
  /** Units below a directory of their own, with a `warren` that exists. */
  function analyze(args: readonly string[], unit: Unit): { status: number | null; output: string } {
    const directory = mkdtempSync(join(tmpdir(), 'warren-units-'));
    try {
      const path = join(directory, unit.file);
      writeFileSync(path, unit.text.replaceAll(/^(Exec[A-Za-z]*=)warren /gm, '$1/bin/true '));
      const { status, stdout, stderr } = spawnSync('systemd-analyze', [...args, path], { encoding: 'utf8' });
      return { status, output: `${stdout}${stderr}` };
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  it.each(UNITS)('finds nothing wrong with $file', (unit) => {
    expect(analyze(['verify', '--man=no'], unit)).toEqual({ status: 0, output: '' });
  });

  it.each([
    [DAEMON, 3.0],
    [CONTROLLER, 2.0],
    [RELAY, 2.0],
    [WG, 3.0],
  ])('counts $file as little exposed', (unit, most) => {
    const { output } = analyze(['security', '--offline=true', '--no-pager'], unit);
    const level = /Overall exposure level for .*: ([\d.]+)/.exec(output)?.[1];
    expect(Number(level)).toBeGreaterThan(0);
    expect(Number(level)).toBeLessThanOrEqual(most);
  });
});
