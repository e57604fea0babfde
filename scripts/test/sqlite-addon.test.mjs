// The set-up of SQLite's native part: nothing is done when it is there, the next way is tried when one does not bring it,
// another `npm ci` gets it back without work, and a failure says what would help.

import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sqliteAddon, sqlitePlaces } from '../lib/sqlite-addon.mjs';
import { scratch } from './scratch.mjs';

class Lines {
  steps = [];
  line() {}
  step(what, work) {
    this.steps.push(what);
    return work();
  }
}

const real = sqlitePlaces();

/** As `npm ci --ignore-scripts` leaves it, with the least package around the compiled part. */
function installation() {
  const directory = scratch('sqlite', {
    'node_modules/better-sqlite3/package.json': '{ "version": "0.0.1", "main": "main.js" }',
    'node_modules/better-sqlite3/main.js': `const native = require('./build/Release/better_sqlite3.node');
      module.exports = class { close() { return native; } };`,
  });
  return sqlitePlaces({ modules: join(directory, 'node_modules'), state: join(directory, 'state') });
}

function put(content) {
  return ({ addon }) => {
    mkdirSync(dirname(addon), { recursive: true });
    if (content === 'good') copyFileSync(real.addon, addon);
    else if (content !== null) writeFileSync(addon, content);
    return Promise.resolve();
  };
}

const way = (what, content) => ({ what, work: put(content) });

describe("SQLite's native part", () => {
  test('here it is there, it loads, and a second look does nothing', async () => {
    const report = new Lines();
    await sqliteAddon(report);
    const start = performance.now();
    await sqliteAddon(report);
    expect(performance.now() - start).toBeLessThan(50);
    expect(report.steps).toEqual([]);
    expect(existsSync(real.addon)).toBe(true);
  });

  test('one that an earlier set-up did not make counts when it loads', async () => {
    const places = installation();
    await put('good')(places);
    const report = new Lines();
    await sqliteAddon(report, { places, ways: [] });
    expect(report.steps).toEqual([]);
    expect(existsSync(places.kept)).toBe(true);
  });

  test('the first way that brings one that loads is the last that is tried', async () => {
    const places = installation();
    const report = new Lines();
    const ways = [way('nothing', null), way('broken', 'no addon'), way('compile', 'good'), way('never', null)];
    await sqliteAddon(report, { places, ways });
    expect(report.steps).toEqual(['nothing', 'broken', 'compile']);
    await sqliteAddon(report, { places, ways });
    expect(report.steps).toHaveLength(3);
  });

  test('one that does not load in this Node is replaced', async () => {
    const places = installation();
    await put('of another Node')(places);
    const report = new Lines();
    await sqliteAddon(report, { places, ways: [way('fetch', 'good')] });
    expect(report.steps).toEqual(['fetch']);
  });

  test('after another npm ci it comes back without work', async () => {
    const places = installation();
    await sqliteAddon(new Lines(), { places, ways: [way('compile', 'good')] });
    rmSync(join(places.directory, 'build'), { recursive: true });
    const report = new Lines();
    await sqliteAddon(report, { places, ways: [way('compile', 'good')] });
    expect(report.steps).toEqual([]);
    expect(existsSync(places.addon)).toBe(true);
  });

  test('when no way brings it, that is an error that says what would help', async () => {
    const places = installation();
    await expect(sqliteAddon(new Lines(), { places, ways: [way('compile', null)] })).rejects.toMatchObject({
      message: expect.stringContaining('neither be fetched nor compiled'),
      next: expect.stringContaining('python3'),
    });
  });
});
