// Bugs of the mesh to plant, one at a time: each is one or more edits, and each edit replaces text that stands exactly once in
// a source file. `npm run plant -- --mesh` plants them and says which checks notice.

const edit = (file, find, replace) => ({ file, find, replace });

const CORE = 'src/controller/state/core.ts';
const FAN_OUT = 'src/controller/state/fan-out.ts';
const SESSIONS = 'src/controller/state/sessions.ts';
const NETMAP = 'src/mesh/netmap.ts';
const CLIENT = 'src/mesh/control-client.ts';
const ROSTER = 'src/mesh/roster.ts';
const MEETING = 'src/mesh/meeting.ts';

/** @type {readonly { name: string; edits: readonly { file: string; find: string; replace: string }[] }[]} */
export const MESH_BUGS = [
  {
    name: 'a delta is sent before the commit',
    edits: [
      edit(
        CORE,
        'return batch?.changes ?? null;',
        'if (batch !== null) this.#apply(batch);\n    return batch?.changes ?? null;',
      ),
      edit(CORE, 'const touched = this.#apply(batch);', 'const touched = new Set<NodeId>();'),
    ],
  },
  {
    name: 'an administrator is answered before the commit',
    edits: [
      edit(
        CORE,
        'return batch?.changes ?? null;',
        "for (const decided of batch?.decided ?? []) if (decided.command.kind === 'admin') this.#follow(decided, clock);\n    return batch?.changes ?? null;",
      ),
    ],
  },
  {
    name: 'a gap is not noticed: the controller skips an operation, nobody looks at the numbers',
    edits: [
      edit(
        FAN_OUT,
        'const ops = compactOps(this.#log.after(from));',
        'const ops = compactOps(this.#log.after(from).slice(seq % 7 === 0 ? 1 : 0));',
      ),
      edit(NETMAP, "if (!this.#knowsAll(delta.ops)) return { kind: 'resync', reason: 'unknownId' };", ''),
    ],
  },
  {
    name: 'a busy connection is skipped, and its cursor moves on; a gap is no reason for a resync',
    edits: [
      edit(
        FAN_OUT,
        'if (conn.busy || !this.isBehind(conn)) return;',
        'if (!this.isBehind(conn)) return;\n    if (conn.busy) {\n      conn.cursor = this.#state.seq;\n      return;\n    }',
      ),
      edit(NETMAP, 'delta.from !== this.#position.seq || ', ''),
      edit(CLIENT, 'position === null || delta.from !== position.seq || ', 'position === null || '),
    ],
  },
  {
    name: 'resume from another epoch is accepted by the controller',
    edits: [edit(SESSIONS, 'resume !== null && resume.epoch === epoch && ', 'resume !== null && ')],
  },
  {
    name: 'resume from another epoch is accepted by both',
    edits: [
      edit(SESSIONS, 'resume !== null && resume.epoch === epoch && ', 'resume !== null && '),
      edit(CLIENT, 'if (this.#position !== null && this.#position.epoch !== message.epoch) this.#position = null;', ''),
    ],
  },
  {
    name: 'removal does not end the session',
    edits: [edit(ROSTER, 'if (mesh.peer !== null) this.#context.engine.removePeer(mesh.peer, now);', '')],
  },
  {
    name: 'presence ends the session',
    edits: [
      edit(
        ROSTER,
        "if (change.aspects.includes('addresses')) this.#route(mesh);",
        "if (change.aspects.includes('addresses')) this.#route(mesh);\n    if (change.aspects.includes('presence') && mesh.peer !== null) this.#context.engine.flush(mesh.peer, now);",
      ),
    ],
  },
  {
    name: 'an address is given again while another node holds it',
    edits: [
      edit(
        'src/controller/state/addresses.ts',
        'if (view.nodeByAddress(address4) === undefined && view.nodeByAddress(address6) === undefined) return host;',
        'if (address4 !== address6) return host;',
      ),
      edit(
        'src/controller/state/mesh-state.ts',
        "    assert((taken ?? byAddress.get(node.address6)) === undefined, 'no two nodes share a key, a name or an address');",
        '    assert(taken !== node.id, "");',
      ),
      edit('src/controller/state/decide-register.ts', 'nextHost: host + 1 }', 'nextHost: host }'),
    ],
  },
  {
    name: 'the answer to a punch is ignored',
    edits: [
      edit(
        MEETING,
        'if (peer.attempt === null || !(expected || news)) return;',
        'if (peer.attempt === null || !news) return;',
      ),
    ],
  },
  {
    name: 'a punch is not answered by opening the firewall',
    edits: [edit(MEETING, '    this.#indicate(punch.candidates);\n', '')],
  },
  {
    name: 'an auth key for one machine lets in any number',
    edits: [
      edit('src/controller/state/decide-register.ts', 'uses: key.uses + 1,', 'uses: key.reusable ? key.uses + 1 : 0,'),
    ],
  },
  {
    name: 'two commands of one transaction are decided on the same state',
    edits: [edit('src/controller/state/batches.ts', 'apply(draft, decision.changes);', 'apply(draft, []);')],
  },
  {
    name: 'a change of keys is not told to the others',
    edits: [edit('src/controller/state/drafting.ts', '    a.publicKey === b.publicKey &&\n', '')],
  },
  {
    name: 'the end of a connection that was replaced takes the node offline',
    edits: [
      edit(
        'src/controller/state/connections.ts',
        'if (conn.nodeId === null || this.#byNode.get(conn.nodeId) !== conn) return null;',
        'if (conn.nodeId === null) return null;',
      ),
    ],
  },
  {
    name: 'a connection that died in silence is not noticed by the node',
    edits: [
      edit(
        CLIENT,
        'this.#livenessAt = after(now, PINGS_MISSED_MAX * this.#pingIntervalMs);\n  }\n\n  #livenessDue',
        'this.#livenessAt = now === this.#welcomedAt ? NEVER : NEVER;\n  }\n\n  #livenessDue',
      ),
    ],
  },
  {
    name: 'ephemeral nodes stay',
    edits: [
      edit(
        'src/controller/state/decide-due.ts',
        'if (!node.ephemeral || around.isConnected(node.id)) return;',
        'if (node.ephemeral || around.isConnected(node.id)) return;',
      ),
    ],
  },
];
