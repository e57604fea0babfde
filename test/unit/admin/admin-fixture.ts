// A controller's administration without a controller process: the real core over a store in memory, the handler behind a real
// admin socket and a real listener on loopback, a clock that the test moves, and a client that says what came back.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Instant, WallTime } from '../../../src/base/instant.ts';
import type { IpAddress, IpPrefix } from '../../../src/base/ip.ts';
import { openAdminSocket } from '../../../src/controller/admin/admin-socket.ts';
import type { AdminDeps } from '../../../src/controller/admin/deps.ts';
import { createAdminHandler } from '../../../src/controller/admin/handler.ts';
import type { Actor, AdminAnswer, AdminCommand, ConnectionId, Ticket } from '../../../src/controller/state/commands.ts';
import { ControllerCore } from '../../../src/controller/state/core.ts';
import type { AuditRecord, Settings } from '../../../src/controller/state/model.ts';
import type { Scope } from '../../../src/protocol/admin-api.ts';
import type { NodeMessage } from '../../../src/protocol/control.ts';
import type { PublicKeyText } from '../../../src/protocol/values.ts';

export const URL_OF_NODES = 'http://controller.test:7370';
export const JOIN_KEY = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8';
/** 2026-11-26 12:00 UTC. */
export const START = Date.UTC(2026, 10, 26, 12);

const SETTINGS: Settings = {
  networkName: 'warren',
  prefix4: '100.80.0.0/12' as IpPrefix,
  prefix6: 'fd00:1234:5678::/48' as IpPrefix,
  requireApproval: false,
  epoch: 'AAAAAAAAAAAAAAAA',
  nextNodeId: 1,
  nextHost: 3,
  nextAuditId: 1,
};

export class AdminWorld {
  readonly core: ControllerCore;
  readonly deps: AdminDeps;
  readonly auditRecords: AuditRecord[] = [];
  readonly logLines: string[] = [];
  /** What `backup` does; replaced by tests. */
  backup: AdminDeps['backup'] = (path, progress) => {
    progress(1, 2);
    writeFileSync(path, 'copy', { mode: 0o600 });
    progress(2, 2);
    return Promise.resolve();
  };
  healthy = true;
  /** The store takes nothing. */
  storeFails = false;
  #nowMs = 1_000_000;
  #wallMs = START;
  #lastConnection = 0;
  readonly #answers = new Map<Ticket, (answer: AdminAnswer) => void>();

  constructor(settings: Partial<Settings> = {}) {
    const random = (out: Uint8Array): void => {
      out.set(randomBytes(out.length));
    };
    const sha256 = (data: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(data).digest());
    const stored = { settings: { ...SETTINGS, ...settings }, nodes: [], authKeys: [], tokens: [], log: [] };
    this.core = new ControllerCore(stored, { random, sha256, software: 'warren test' }, this.clock());
    const log =
      (level: string) =>
      (what: string, fields: object = {}) => {
        this.logLines.push(`${level} ${what} ${JSON.stringify(fields)}`);
      };
    this.deps = {
      state: () => this.core.state,
      administer: (command, actor) => this.administer(command, actor),
      checkToken: (secret) => this.core.checkToken(secret, this.clock()),
      audit: (before, limit) => Promise.resolve(this.#auditPage(before, limit)),
      backup: (path, progress) => this.backup(path, progress),
      now: () => this.#nowMs as Instant,
      wallNow: () => this.#wallMs as WallTime,
      random: (count) => new Uint8Array(randomBytes(count)),
      log: { error: log('error'), debug: log('debug') },
      version: '1.2.3',
      url: () => URL_OF_NODES,
      joinKey: JOIN_KEY,
      healthy: () => this.healthy,
    };
  }

  clock(): { now: Instant; wall: WallTime } {
    return { now: this.#nowMs as Instant, wall: this.#wallMs as WallTime };
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    this.#wallMs += ms;
    this.core.handleDeadline(this.clock());
    this.pump();
  }

  administer(command: AdminCommand, actor: Actor = { name: 'test', source: 'local' }): Promise<AdminAnswer> {
    const ticket = this.core.administer(command, actor, this.clock());
    const answer = new Promise<AdminAnswer>((resolve) => {
      this.#answers.set(ticket, resolve);
    });
    this.pump();
    return answer;
  }

  /** Stores what waits and carries out what follows, until nothing is left. */
  pump(): void {
    for (;;) {
      const batch = this.core.takeBatch(this.clock());
      for (const output of this.core.takeOutputs()) {
        if (output.kind === 'answered') this.#answers.get(output.ticket)?.(output.answer);
      }
      if (batch === null) return;
      if (this.storeFails) {
        this.core.batchFailed('the store is away', this.clock());
        continue;
      }
      for (const change of batch) if (change.kind === 'audit') this.auditRecords.push(change.record);
      this.core.batchCommitted(this.clock());
    }
  }

  /** A node joins and stays connected. */
  async join(hostname: string, publicKey = newPublicKey()): Promise<{ id: number; publicKey: PublicKeyText }> {
    const input = { description: '', reusable: false, ephemeral: false, preApproved: false, tags: [] };
    const made = await this.administer({ action: 'keys.create', input: { ...input, expiresInSeconds: null } });
    if (!made.ok || made.result.kind !== 'authKeyCreated') throw new Error('no key');
    const conn = ++this.#lastConnection as ConnectionId;
    const message: NodeMessage = {
      type: 'register',
      version: 1,
      software: 'warren 0.0.1',
      os: 'linux',
      hostname,
      authKey: made.result.secret,
      resume: null,
      candidates: [],
      listenPort: 51820,
    };
    this.core.connected(conn, { publicKey, remoteAddress: '192.0.2.1' as IpAddress }, this.clock());
    this.core.received(conn, message, this.clock());
    this.pump();
    const node = this.core.state.nodeByKey(publicKey);
    if (node === undefined) throw new Error(`${hostname} did not join`);
    return { id: node.id, publicKey };
  }

  async token(...scopes: Scope[]): Promise<{ id: string; secret: string }> {
    const input = { name: 'test', scopes, expiresInSeconds: 3600 };
    const made = await this.administer({ action: 'tokens.create', input });
    if (!made.ok || made.result.kind !== 'tokenCreated') throw new Error('no token');
    return { id: made.result.token.id, secret: made.result.secret };
  }

  #auditPage(before: number | null, limit: number): { records: AuditRecord[]; next: number | null } {
    const older = this.auditRecords.filter(({ id }) => before === null || id < before).toReversed();
    const records = older.slice(0, limit);
    return { records, next: older.length > limit ? (records.at(-1)?.id ?? null) : null };
  }
}

export function newPublicKey(): PublicKeyText {
  return randomBytes(32).toString('base64') as PublicKeyText;
}

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'warren-admin-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Both doors, closed with the test. */
export interface Doors {
  readonly directory: string;
  readonly socket: string;
  readonly url: string;
  readonly port: number;
}

export async function openDoors(world: AdminWorld): Promise<Doors> {
  const directory = temporaryDirectory();
  const handler = createAdminHandler(world.deps);
  const socket = await openAdminSocket(join(directory, 'admin.sock'), handler);
  const server = createServer((incoming, response) => handler(incoming, response, 'tcp'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    await socket.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return { directory, socket: socket.path, url: `http://127.0.0.1:${port}`, port };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly json: unknown;
}

export interface Sent {
  readonly method?: string;
  readonly path: string;
  /** An object is sent as JSON, text as it is. */
  readonly body?: object | string;
  readonly type?: string;
  readonly token?: string;
  readonly headers?: Record<string, string>;
}

/** Over the socket when `door` is a path, over the listener when it is a port. */
export function ask(door: string | number, sent: Sent): Promise<Answer> {
  const { method = 'GET', path, body, token } = sent;
  const payload = body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body);
  const headers: Record<string, string> = { ...sent.headers };
  if (payload !== null) {
    headers['content-type'] = sent.type ?? 'application/json';
    if (headers['transfer-encoding'] === undefined) headers['content-length'] = String(Buffer.byteLength(payload));
  }
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
  const where = typeof door === 'string' ? { socketPath: door } : { host: '127.0.0.1', port: door };
  return new Promise((resolve, reject) => {
    const asking = request({ ...where, method, path, headers, agent: false });
    asking.on('error', reject);
    asking.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        text += piece;
      });
      response.on('error', reject);
      response.on('end', () => {
        const json: unknown = isJson(text) ? JSON.parse(text) : null;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    asking.end(payload ?? undefined);
  });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
