// A member of a network: the daemon's own link to the controller and a netmap that follows what comes, without a tunnel.

import { randomBytes } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { toBase64 } from '../../../src/base/bytes.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import type { DhKey, PublicKey } from '../../../src/crypto/provider.ts';
import { ControlLink, type LinkEvents } from '../../../src/link/control-link.ts';
import type { ControllerMessage, RegisterMessage, Snapshot, Welcome } from '../../../src/protocol/control.ts';
import { parseJoinLink } from '../../../src/protocol/join-link.ts';
import type { NetmapNode, Position } from '../../../src/protocol/netmap.ts';

export interface Joining {
  readonly url: string;
  readonly controllerKey: PublicKey;
  readonly authKey: string | null;
}

export function joining(link: string | null): Joining {
  const parsed = parseJoinLink(link ?? '');
  if (!parsed.ok) throw new Error(`no join link: ${parsed.reason}`);
  const { url, controllerKey, authKey } = parsed.link;
  return { url, controllerKey: new Uint8Array(Buffer.from(controllerKey, 'base64url')) as PublicKey, authKey };
}

export type Closed = Parameters<LinkEvents['closed']>[0];

export class Member {
  readonly key: DhKey;
  readonly publicKey: string;
  readonly hostname: string;
  readonly nodes = new Map<number, NetmapNode>();
  readonly messages: ControllerMessage[] = [];
  welcome: Welcome | null = null;
  position: Position | null = null;
  closed: Closed | null = null;
  snapshots = 0;
  deltas = 0;
  /** Milliseconds from the first packet. */
  openedAfterMs = 0;
  #link: ControlLink | null = null;
  #changed: (() => void)[] = [];

  constructor(hostname: string, privateKey: Uint8Array = randomBytes(32)) {
    this.key = nodeProvider.importPrivateKey(privateKey);
    this.publicKey = toBase64(this.key.publicKey);
    this.hostname = hostname;
    onTestFinished(() => this.close());
  }

  /** Connects and registers, resuming where the netmap ends; does not wait. */
  connect({ url, controllerKey, authKey }: Joining): void {
    this.#link?.close();
    this.welcome = null;
    this.closed = null;
    this.messages.length = 0;
    const begun = performance.now();
    const link = new ControlLink(
      { url, controllerKey, localStatic: this.key },
      {
        opened: () => {
          this.openedAfterMs = performance.now() - begun;
          link.send(this.#register(authKey));
        },
        message: (message) => this.#take(message),
        heard: () => undefined,
        closed: (reason) => {
          this.closed = reason;
          this.#tell();
        },
      },
    );
    this.#link = link;
  }

  /** Resolves when `condition` holds; rejects with what happened when the connection ends or the time is over. */
  until(condition: () => boolean, limitMs = 10_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(`${this.hostname} waited in vain: ${this.#state()}`)), limitMs);
      const look = (): void => {
        const done = condition();
        if (!done && this.closed === null) {
          this.#changed.push(look);
          return;
        }
        clearTimeout(limit);
        if (done) resolve();
        else reject(new Error(`${this.hostname} was closed: ${this.#state()}`));
      };
      look();
    });
  }

  /** Welcomed, with a netmap. */
  async join(joining: Joining): Promise<this> {
    this.connect(joining);
    await this.until(() => this.welcome !== null && this.position?.epoch === this.welcome.epoch);
    return this;
  }

  send(message: Parameters<ControlLink['send']>[0]): boolean {
    return this.#link?.send(message) ?? false;
  }

  close(): void {
    this.#link?.close();
    this.#link = null;
  }

  #register(authKey: string | null): RegisterMessage {
    const { hostname, position: resume } = this;
    const software = 'test';
    return {
      type: 'register',
      version: 1,
      software,
      os: 'test',
      hostname,
      authKey,
      resume,
      candidates: [],
      listenPort: 0,
    };
  }

  #take(message: ControllerMessage): void {
    this.messages.push(message);
    switch (message.type) {
      case 'welcome':
        this.welcome = message;
        break;
      case 'snapshot':
        this.#takeSnapshot(message);
        break;
      case 'delta':
        if (message.from !== this.position?.seq) throw new Error(`a gap: ${message.from} after ${this.position?.seq}`);
        this.deltas++;
        this.position = { epoch: this.position.epoch, seq: message.seq };
        for (const op of message.ops) {
          const known = op.op === 'candidates' || op.op === 'presence' ? this.nodes.get(op.id) : undefined;
          if (op.op === 'put') this.nodes.set(op.node.id, op.node);
          else if (op.op === 'remove') this.nodes.delete(op.id);
          else if (op.op === 'candidates' && known) this.nodes.set(op.id, { ...known, candidates: op.candidates });
          else if (op.op === 'presence' && known) this.nodes.set(op.id, { ...known, online: op.online });
        }
        break;
      default:
        break;
    }
    this.#tell();
  }

  #takeSnapshot({ epoch, seq, nodes }: Snapshot): void {
    this.snapshots++;
    this.position = { epoch, seq };
    this.nodes.clear();
    for (const node of nodes) this.nodes.set(node.id, node);
  }

  #tell(): void {
    const looks = this.#changed;
    this.#changed = [];
    for (const look of looks) look();
  }

  #state(): string {
    const last = this.messages.at(-1);
    return `${this.closed?.message ?? 'open'}; last message ${JSON.stringify(last)?.slice(0, 300) ?? 'none'}`;
  }
}
