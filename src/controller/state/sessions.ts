// Connections of nodes at work: what each message asks for, and what follows once it is durable: welcome, approval, being
// replaced or shut out. A connection that is closed here is forgotten at once; what still comes from it is ignored.

import { unreachable } from '../../base/assert.ts';
import { type Instant, NEVER } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import type { ControllerMessage, ErrorCode, NodeMessage, RegisterMessage } from '../../protocol/control.ts';
import type { Whereabouts } from '../../protocol/reach.ts';
import type { NodeId, PublicKeyText } from '../../protocol/values.ts';
import { PROTOCOL_VERSION, PROTOCOL_VERSION_MIN } from '../../protocol/version-log.ts';
import type { Batches } from './batches.ts';
import { sharedCandidates } from './candidates.ts';
import type { Command, ConnectionId, Outcome, Speaker } from './commands.ts';
import { type Connection, Connections, NOWHERE, speakerOf } from './connections.ts';
import type { Counters } from './counters.ts';
import type { Dues } from './dues.ts';
import { closesAfter, PENDING } from './errors.ts';
import { FanOut } from './fan-out.ts';
import type { DurableState } from './mesh-state.ts';
import type { NodeRecord } from './model.ts';
import type { OpLog } from './op-log.ts';
import type { CoreLimits, CoreOptions } from './options.ts';
import type { Outbox } from './outbox.ts';
import type { Clock } from './outputs.ts';
import { Punches } from './punches.ts';
import { RateTable, rateSpent, rateWaitMs } from './rates.ts';
import { Schedule } from './schedule.ts';
import { isExpired, netmapNodeOf } from './state-view.ts';

/** What connections work with. */
export interface Workshop {
  readonly state: DurableState;
  readonly log: OpLog;
  readonly batches: Batches;
  readonly dues: Dues;
  readonly outbox: Outbox;
  readonly limits: CoreLimits;
  readonly counters: Counters;
  readonly options: CoreOptions;
}

export class Sessions {
  readonly connections = new Connections();
  readonly fanOut: FanOut;
  readonly #punches: Punches;
  readonly #shop: Workshop;
  /** Connections that have not registered yet, and those whose candidates are held back. */
  readonly #silent = new Schedule<ConnectionId>();
  readonly #held = new Schedule<ConnectionId>();
  readonly #registers: RateTable<NodeId>;
  readonly #rotations: RateTable<NodeId>;

  constructor(shop: Workshop) {
    const { state, log, outbox, limits, counters } = shop;
    this.#shop = shop;
    this.fanOut = new FanOut(state, log, this.connections, limits, counters, outbox);
    this.#punches = new Punches(state, this.connections, this.fanOut, outbox, limits, counters);
    const registers = { burst: limits.nodeRegisterBurst, intervalMs: limits.nodeRegisterIntervalMs };
    const rotations = { burst: limits.nodeRotationBurst, intervalMs: limits.nodeRotationIntervalMs };
    this.#registers = new RateTable(registers, limits.ratesMax);
    this.#rotations = new RateTable(rotations, limits.ratesMax);
  }

  // — from the transport —

  open(id: ConnectionId, publicKey: PublicKeyText, remoteAddress: IpAddress | null, now: Instant): void {
    this.connections.open(id, publicKey, remoteAddress);
    this.#silent.set(id, now + this.#shop.limits.registerTimeoutMs);
    const conn = this.connections.get(id);
    if (conn !== undefined && this.connections.size > this.#shop.limits.connectionsMax) {
      this.#shop.outbox.sendError(conn, 'rateLimited', this.#shop.limits.restartGraceMs);
      this.close(conn, now);
    }
  }

  received(conn: Connection, message: NodeMessage, now: Instant): void {
    if (conn.phase === 'new' && message.type !== 'register') {
      this.refuse(conn, 'malformed', now);
      return;
    }
    switch (message.type) {
      case 'register':
        this.#register(conn, message, now);
        break;
      case 'candidates':
        conn.listenPort = message.listenPort;
        this.#offer(
          conn,
          {
            candidates: sharedCandidates(message.candidates, conn.remoteAddress, message.listenPort),
            reach: message.reach ?? null,
          },
          now,
        );
        break;
      case 'punch':
        this.#punches.pass(conn, message, now);
        break;
      case 'rotateKey':
        if (!this.#isTooEarly(conn, now) && !this.#isTooOften(this.#rotations, conn, now)) {
          this.#ask(conn, { kind: 'rotateKey', speaker: speakerOf(conn), publicKey: message.publicKey });
        }
        break;
      case 'goodbye':
        this.#shop.batches.add({ kind: 'goodbye', speaker: speakerOf(conn), reason: message.reason });
        this.close(conn, now);
        break;
      case 'ack':
        break;
      default:
        unreachable(message);
    }
  }

  /** It is gone, by itself. */
  gone(conn: Connection, now: Instant): void {
    this.#silent.delete(conn.id);
    this.#held.delete(conn.id);
    const left = this.connections.remove(conn);
    const node = left === null ? undefined : this.#shop.state.node(left);
    if (node !== undefined) this.#shop.dues.noteAway(node, now);
  }

  drained(conn: Connection): void {
    this.#shop.outbox.drained(conn);
    if (this.fanOut.isBehind(conn)) this.fanOut.want();
  }

  // — what follows once it is durable —

  registered(speaker: Speaker, id: NodeId, how: Extract<Outcome, { kind: 'registered' }>['how'], clock: Clock): void {
    const conn = this.connections.get(speaker.connection);
    if (conn === undefined) return;
    const node = this.#shop.state.node(id);
    if (node === undefined) {
      this.refuse(conn, 'nodeRemoved', clock.now);
      return;
    }
    const { counters } = this.#shop;
    if (how === 'joined') counters.registrationsJoined++;
    else if (how === 'renewed') counters.registrationsRenewed++;
    else counters.registrationsReturned++;
    this.#silent.delete(conn.id);
    this.#bind(conn, id, clock.now);
    this.#admit(conn, node, clock);
  }

  /** Or not stored. A connection that stays may register again. */
  refused(speaker: Speaker, code: ErrorCode, now: Instant, retryAfterMs: number | null): void {
    const conn = this.connections.get(speaker.connection);
    if (conn === undefined) return;
    if (conn.phase === 'registering' && conn.nodeId === null) {
      this.connections.setPhase(conn, 'new');
      this.#silent.set(conn.id, now + this.#shop.limits.registerTimeoutMs + (retryAfterMs ?? 0));
    }
    this.refuse(conn, code, now, retryAfterMs);
  }

  /** A command of its is done with. */
  settled(speaker: Speaker): void {
    const conn = this.connections.get(speaker.connection);
    if (conn !== undefined) conn.waiting--;
  }

  keyRotated(speaker: Speaker, publicKey: PublicKeyText, now: Instant): void {
    const conn = this.connections.get(speaker.connection);
    if (conn !== undefined) this.#send(conn, { type: 'keyRotated', publicKey }, now);
  }

  /** The record of `id` has changed: whoever is connected as it may be let in or shut out by that. */
  reconcile(id: NodeId, clock: Clock): void {
    const node = this.#shop.state.node(id);
    const conn = this.connections.of(id);
    if (conn === undefined) {
      if (node !== undefined) this.#shop.dues.noteAway(node, clock.now);
    } else if (node === undefined) {
      this.refuse(conn, 'nodeRemoved', clock.now);
    } else if (conn.phase === 'pending' || this.#shutOut(node, clock) !== null) {
      if (conn.phase !== 'pending' || node.approved) this.#admit(conn, node, clock);
    }
  }

  /** Sends the error; the connection is closed after most of them. */
  refuse(conn: Connection, code: ErrorCode, now: Instant, retryAfterMs: number | null = null): void {
    const sent = this.#shop.outbox.sendError(conn, code, retryAfterMs);
    if (!sent || closesAfter(code)) this.close(conn, now);
  }

  close(conn: Connection, now: Instant): void {
    this.#shop.outbox.push({ kind: 'close', conn: conn.id });
    this.gone(conn, now);
  }

  // — what falls due —

  handleDeadline(now: Instant): void {
    for (const id of this.#silent.takeDue(now)) {
      const conn = this.connections.get(id);
      if (conn?.phase === 'new') this.close(conn, now);
    }
    for (const id of this.#held.takeDue(now)) {
      const conn = this.connections.get(id);
      if (conn === undefined || conn.heldWhereabouts === null) continue;
      const held = conn.heldWhereabouts;
      conn.heldWhereabouts = null;
      this.#offer(conn, held, now);
    }
  }

  deadline(): Instant {
    if (this.#silent.size === 0 && this.#held.size === 0) return NEVER;
    return Math.min(this.#silent.next(), this.#held.next()) as Instant;
  }

  #register(conn: Connection, message: RegisterMessage, now: Instant): void {
    if (conn.phase === 'registering') {
      this.#shop.counters.messagesIgnored++;
      return;
    }
    if (message.version < PROTOCOL_VERSION_MIN) {
      this.refuse(conn, 'versionTooOld', now);
      return;
    }
    if (this.#isTooEarly(conn, now) || this.#isTooOften(this.#registers, conn, now)) return;
    if (conn.phase !== 'new') this.#shop.counters.resyncs++;
    conn.resume = message.resume;
    conn.listenPort = message.listenPort;
    this.connections.setPhase(conn, 'registering');
    this.#ask(conn, { kind: 'register', speaker: speakerOf(conn), message });
  }

  /** Registers and changes of the key cost a transaction each. */
  #isTooEarly(conn: Connection, now: Instant): boolean {
    const { registerBurst: burst, registerIntervalMs: intervalMs } = this.#shop.limits;
    const waitMs = rateWaitMs({ burst, intervalMs }, conn.registersFull, now);
    if (waitMs > 0) this.refuse(conn, 'rateLimited', now, waitMs);
    else conn.registersFull = rateSpent({ burst, intervalMs }, conn.registersFull, now);
    return waitMs > 0;
  }

  /** A limit of each connection is none for who makes another one. Held by its key, which is proven. */
  #isTooOften(rates: RateTable<NodeId>, conn: Connection, now: Instant): boolean {
    const id = conn.nodeId ?? this.#shop.state.nodeByKey(conn.publicKey)?.id;
    if (id === undefined || rates.take(id, now)) return false;
    this.refuse(conn, 'rateLimited', now, rates.waitMs(id, now));
    return true;
  }

  /** What comes too often is held back, and only the newest of it. */
  #offer(conn: Connection, whereabouts: Whereabouts, now: Instant): void {
    const { candidatesBurst: burst, candidatesIntervalMs: intervalMs, commandsWaitingMax } = this.#shop.limits;
    const earned = rateWaitMs({ burst, intervalMs }, conn.candidatesFull, now);
    const waitMs = conn.waiting < commandsWaitingMax ? earned : Math.max(earned, intervalMs);
    if (waitMs > 0) {
      this.#shop.counters.candidatesDeferred++;
      conn.heldWhereabouts = whereabouts;
      this.#held.set(conn.id, now + waitMs);
      return;
    }
    conn.candidatesFull = rateSpent({ burst, intervalMs }, conn.candidatesFull, now);
    conn.heldWhereabouts = null;
    this.#held.delete(conn.id);
    this.#ask(conn, { kind: 'candidates', speaker: speakerOf(conn), whereabouts });
  }

  #ask(conn: Connection, command: Command): void {
    conn.waiting++;
    this.#shop.batches.add(command);
  }

  #bind(conn: Connection, id: NodeId, now: Instant): void {
    const other = this.connections.of(id);
    this.connections.bind(conn, id);
    if (other !== undefined && other !== conn) this.refuse(other, 'replaced', now);
    this.#shop.dues.noteBack(id);
  }

  /** Lets in, has wait, or shuts out, as the record says. */
  #admit(conn: Connection, node: NodeRecord, clock: Clock): void {
    const code = this.#shutOut(node, clock);
    if (code !== null) {
      this.refuse(conn, code, clock.now);
    } else if (!node.approved) {
      this.#shop.counters.registrationsPending++;
      this.connections.setPhase(conn, 'pending');
      this.#send(conn, PENDING, clock.now);
    } else {
      this.#welcome(conn, node, clock);
    }
  }

  #shutOut(node: NodeRecord, clock: Clock): ErrorCode | null {
    if (node.disabled) return 'nodeDisabled';
    return isExpired(node, clock.wall) ? 'nodeExpired' : null;
  }

  #welcome(conn: Connection, node: NodeRecord, clock: Clock): void {
    const { state, options, limits, counters, batches } = this.#shop;
    const { networkName, prefix4, prefix6, epoch } = state.settings;
    const welcomed = this.#send(
      conn,
      {
        type: 'welcome',
        version: PROTOCOL_VERSION,
        software: options.software,
        self: netmapNodeOf(node),
        network: { name: networkName, prefix4, prefix6 },
        epoch,
        observedAddress: conn.remoteAddress,
        time: clock.wall,
        pingIntervalMs: limits.pingIntervalMs,
        stunPorts: [...(options.stunPorts ?? [])],
      },
      clock.now,
    );
    if (!welcomed) return;
    const { resume } = conn;
    const follows = resume !== null && resume.epoch === epoch && this.fanOut.canFollow(resume.seq);
    conn.cursor = follows ? resume.seq : NOWHERE;
    conn.resume = null;
    if (follows) counters.resumes++;
    this.connections.setPhase(conn, 'joined');
    // The snapshot goes at once: many share the cached one. What came after it goes with the next round.
    if (!follows) this.fanOut.advance(conn);
    if (this.fanOut.isBehind(conn)) this.fanOut.want();
    if (!node.online) batches.add({ kind: 'presence', nodes: [node.id] });
  }

  #send(conn: Connection, message: ControllerMessage, now: Instant): boolean {
    const sent = this.#shop.outbox.send(conn, message);
    if (!sent) this.close(conn, now);
    return sent;
  }
}
