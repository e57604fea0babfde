// `warren ping` inside the daemon: asks a peer again and again over the mesh engine and tells what came back, until it has asked
// often enough or the client is gone. One that needs a session first counts the time that took.

import type { Pong } from '../../mesh/mesh-engine.ts';
import type { PingLine, PingRequest } from '../../protocol/local-api.ts';
import type { NodeId } from '../../protocol/values.ts';
import type { MeshNode } from './mesh-node.ts';
import { answerPath } from './path-view.ts';

/** Asked and not answered yet; beyond it the oldest counts as lost. */
const OUTSTANDING_MAX = 1024;

interface Asked {
  readonly sequence: number;
  readonly at: number;
  readonly hadSession: boolean;
  readonly limit: NodeJS.Timeout;
}

export class Pinger {
  readonly #node: MeshNode;
  readonly #request: PingRequest;
  readonly #peer: { readonly id: NodeId; readonly name: string };
  readonly #tell: (line: PingLine) => void;
  readonly #outstanding = new Map<number, Asked>();
  #next: NodeJS.Timeout | null = null;
  #done: () => void = () => undefined;
  #sent = 0;
  #over = 0;
  #received = 0;
  #sumMs = 0;
  #minMs = Number.POSITIVE_INFINITY;
  #maxMs = 0;

  constructor(
    node: MeshNode,
    peer: { readonly id: NodeId; readonly name: string },
    request: PingRequest,
    tell: (line: PingLine) => void,
  ) {
    this.#node = node;
    this.#peer = peer;
    this.#request = request;
    this.#tell = tell;
  }

  /** Resolves when all are answered or lost, or at once when the client is gone. */
  async run(signal: AbortSignal): Promise<void> {
    const stopListening = this.#node.onPong((pong) => this.#answered(pong));
    try {
      await new Promise<void>((resolve) => {
        this.#done = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
        if (signal.aborted) resolve();
        else this.#ask();
      });
    } finally {
      stopListening();
      if (this.#next !== null) clearTimeout(this.#next);
      for (const { limit } of this.#outstanding.values()) clearTimeout(limit);
      this.#outstanding.clear();
    }
    if (!signal.aborted) this.#tell(this.#summary());
  }

  #ask(): void {
    const { count, intervalMs, timeoutMs } = this.#request;
    const sequence = ++this.#sent;
    const { mesh } = this.#node;
    const now = this.#node.now();
    const hadSession = mesh.status(this.#peer.id, now)?.state === 'established';
    const asked = mesh.ping(this.#peer.id, now);
    if (count === 0 || sequence < count) this.#next = setTimeout(() => this.#ask(), intervalMs);
    if (!asked.ok) {
      this.#lost(sequence, asked.reason);
      return;
    }
    const limit = setTimeout(() => {
      this.#outstanding.delete(asked.txid);
      this.#lost(sequence, this.#whyNot(timeoutMs));
    }, timeoutMs);
    this.#outstanding.set(asked.txid, { sequence, at: now, hadSession, limit });
    const [oldest] = this.#outstanding;
    if (this.#outstanding.size <= OUTSTANDING_MAX || oldest === undefined) return;
    clearTimeout(oldest[1].limit);
    this.#outstanding.delete(oldest[0]);
    this.#lost(oldest[1].sequence, 'too many are waiting for an answer');
  }

  /** Called from within the engine: nothing here calls back into it, but for reading. */
  #answered({ id, txid, rttMs, endpoint }: Pong): void {
    const asked = id === this.#peer.id ? this.#outstanding.get(txid) : undefined;
    if (asked === undefined) return;
    this.#outstanding.delete(txid);
    clearTimeout(asked.limit);
    const ms = asked.hadSession ? rttMs : this.#node.now() - asked.at;
    this.#received++;
    this.#sumMs += ms;
    this.#minMs = Math.min(this.#minMs, ms);
    this.#maxMs = Math.max(this.#maxMs, ms);
    const path = answerPath(this.#node, id, endpoint);
    this.#tell({ type: 'reply', sequence: asked.sequence, ms, path });
    if (this.#request.untilDirect && path.kind === 'direct') this.#done();
    else this.#settled();
  }

  #lost(sequence: number, reason: string): void {
    this.#tell({ type: 'lost', sequence, reason });
    this.#settled();
  }

  #settled(): void {
    this.#over++;
    if (this.#request.count !== 0 && this.#over === this.#request.count) this.#done();
  }

  #whyNot(timeoutMs: number): string {
    const status = this.#node.mesh.status(this.#peer.id, this.#node.now());
    if (status === null) return 'the peer is no longer in the network';
    return status.reason ?? `nothing came within ${timeoutMs / 1000} s`;
  }

  #summary(): PingLine {
    const counts = { type: 'done', peer: this.#peer.name, sent: this.#sent, received: this.#received } as const;
    if (this.#received === 0) return { ...counts, minMs: null, avgMs: null, maxMs: null };
    return { ...counts, minMs: this.#minMs, avgMs: this.#sumMs / this.#received, maxMs: this.#maxMs };
  }
}
