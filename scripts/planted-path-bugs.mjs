// Bugs of paths to plant, one at a time: each is one or more edits, and each edit replaces text that stands exactly once in a
// source file. `npm run plant -- --paths` plants them and says which checks notice.

const edit = (file, find, replace) => ({ file, find, replace });

const CHOOSE = 'src/path/choose.ts';
const PEER_PATHS = 'src/path/peer-paths.ts';
const SCHEDULE = 'src/path/schedule.ts';
const SILENCE = 'src/path/silence.ts';
const PATHS = 'src/mesh/paths.ts';
const RELAYS = 'src/mesh/relays.ts';

/** @type {readonly { name: string; edits: readonly { file: string; find: string; replace: string }[] }[]} */
export const PATH_BUGS = [
  {
    name: 'a direct path does not take over from the relay',
    edits: [edit(CHOOSE, 'return active.isRelayed;', 'return false;')],
  },
  {
    name: 'a path that answers no ping is not left',
    edits: [edit(SILENCE, "    return ['lost'];", '    return this.#calm();')],
  },
  {
    name: 'whatever comes in by another path is a sign of life of the active one',
    edits: [
      edit(
        SILENCE,
        'if (!strict && facts.lastReceive >= state.since && facts.lastReceive > this.#elsewhereAt) return this.#calm();',
        'if (facts.lastReceive >= state.since) return this.#calm();',
      ),
    ],
  },
  {
    name: 'where a packet came from is taken for a path that has been proved',
    edits: [
      edit(PEER_PATHS, 'this.#silence.heardElsewhere(now);', 'this.#use(remote, now);\n      this.#proven = true;'),
    ],
  },
  {
    name: 'a candidate is used before it has answered',
    edits: [
      edit(
        PEER_PATHS,
        'if (known === undefined && this.#live && !this.#settles) remote.startRound(now);',
        'if (known === undefined && this.#live && !this.#settles) this.#use(remote, now);',
      ),
    ],
  },
  {
    name: 'the other end does not look when the peer comes by another path',
    edits: [
      edit(
        PEER_PATHS,
        'if (remote === null || !this.#live || remote === this.set.active) return;\n    if (!this.#proven) {',
        'if (remote === null || !this.#live || this.#proven) return;\n    if (!this.#proven) {',
      ),
    ],
  },
  {
    name: 'peers without data are probed',
    edits: [
      edit(
        SCHEDULE,
        'return elapsedMs(lastData, now) < PROBED_AFTER_DATA_MS;',
        'return elapsedMs(lastData, now) < Infinity;',
      ),
    ],
  },
  {
    name: 'a path that was given up is never probed again',
    edits: [
      edit(SCHEDULE, 'export const PROBE_INTERVAL_MAX_MS = 60_000;', 'export const PROBE_INTERVAL_MAX_MS = 6_000_000;'),
      edit(SCHEDULE, 'lastInterval * 2 ** Math.min(sent - last, 16)', 'sent < 8 ? lastInterval : 6_000_000'),
    ],
  },
  {
    name: 'initiations do not go by relay',
    edits: [
      edit(
        PATHS,
        'for (const endpoint of this.#options.relayed(mesh, wanted, now)) {',
        'for (const endpoint of wanted ? [] : this.#options.relayed(mesh, wanted, now)) {',
      ),
    ],
  },
  {
    name: 'a slot is believed to outlive the session in which it was given',
    edits: [
      edit(
        RELAYS,
        'if (relay === undefined || (relay.slot === null && !this.#isWanted(relay))) return;',
        'if (relay === undefined || relay.slot !== null || !this.#isWanted(relay)) return;',
      ),
    ],
  },
  {
    name: 'a relay forwards for whoever sends to it',
    edits: [
      edit(
        'src/dataplane/reference/relays.ts',
        'return this.#byEndpoint.get(endpoint);',
        'return this.#byEndpoint.get(endpoint) ?? [...this.#byEndpoint.values()][0];',
      ),
    ],
  },
];
