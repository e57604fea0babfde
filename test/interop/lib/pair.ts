// Two hosts on one cable, an engine on each, and one peer relation between them: the fixture of most interop tests. Outer
// and inner networks carry both families. Who knows whose endpoint decides who can initiate.

import { Engine, type Implementation } from './engines.ts';
import type { Host, Lab } from './lab.ts';
import { type Keys, makeKeys, secretFile, wgSet } from './wg.ts';

export type OuterFamily = 4 | 6;

/** One end of a pair. */
export interface Side {
  readonly host: Host;
  readonly keys: Keys;
  readonly implementation: Implementation;
  engine: Engine;
  outer4: string;
  outer6: string;
  port: number;
  readonly inner4: string;
  readonly inner6: string;
  readonly device: string;
  readonly mtu: number | undefined;
}

export interface PairOptions {
  readonly left: Implementation;
  readonly right: Implementation;
  readonly linkMtu?: number;
  /** MTU of both tunnel interfaces; absent = the engines' own. */
  readonly tunnelMtu?: number;
  readonly env?: Readonly<Record<string, string>>;
}

export interface PeerOptions {
  readonly outer?: OuterFamily;
  /** False: this side learns the endpoint from the other's first packet. */
  readonly endpoint?: boolean;
  readonly presharedKey?: string;
  readonly keepaliveSeconds?: number;
  readonly allowedIps?: readonly string[];
}

const DEVICE = 'eth0';

async function startEngine(side: Omit<Side, 'engine'>, env: Readonly<Record<string, string>>): Promise<Engine> {
  const engine = await Engine.start(side.host, side.implementation, {
    env,
    ...(side.mtu === undefined ? {} : { mtu: side.mtu }),
  });
  await wgSet(engine, 'listen-port', `${side.port}`, 'private-key', secretFile(engine, side.keys.privateKey));
  await side.host.addAddress(engine.interfaceName, `${side.inner4}/24`);
  await side.host.addAddress(engine.interfaceName, `${side.inner6}/64`);
  return engine;
}

export class Pair {
  readonly left: Side;
  readonly right: Side;
  readonly #env: Readonly<Record<string, string>>;

  private constructor(left: Side, right: Side, env: Readonly<Record<string, string>>) {
    this.left = left;
    this.right = right;
    this.#env = env;
  }

  /** Engines run and have keys, ports and inner addresses; neither knows the other yet. */
  static async open(lab: Lab, options: PairOptions): Promise<Pair> {
    const env = options.env ?? {};
    const side = async (
      name: string,
      implementation: Implementation,
      number: number,
    ): Promise<Omit<Side, 'engine'>> => ({
      host: await lab.host(name),
      keys: makeKeys(),
      implementation,
      outer4: `10.9.0.${number}`,
      outer6: `fd09::${number}`,
      port: 51_820 + number,
      inner4: `10.100.0.${number}`,
      inner6: `fd00:100::${number}`,
      device: DEVICE,
      mtu: options.tunnelMtu,
    });
    const left = await side('left', options.left, 1);
    const right = await side('right', options.right, 2);
    await lab.link(
      { host: left.host, device: DEVICE, addresses: [`${left.outer4}/24`, `${left.outer6}/64`] },
      { host: right.host, device: DEVICE, addresses: [`${right.outer4}/24`, `${right.outer6}/64`] },
      options.linkMtu ?? 1500,
    );
    const [leftEngine, rightEngine] = await Promise.all([startEngine(left, env), startEngine(right, env)]);
    return new Pair({ ...left, engine: leftEngine }, { ...right, engine: rightEngine }, env);
  }

  other(side: Side): Side {
    return side === this.left ? this.right : this.left;
  }

  /** Adds the other end as `side`'s peer, after removing what it knew of it: there is no session afterwards. */
  async meet(side: Side, options: PeerOptions = {}): Promise<void> {
    const other = this.other(side);
    await wgSet(side.engine, 'peer', other.keys.publicKey, 'remove');
    const settings = ['allowed-ips', (options.allowedIps ?? [`${other.inner4}/32`, `${other.inner6}/128`]).join(',')];
    if (options.endpoint !== false) settings.push('endpoint', endpointOf(other, options.outer ?? 4));
    if (options.presharedKey !== undefined)
      settings.push('preshared-key', secretFile(side.engine, options.presharedKey));
    if (options.keepaliveSeconds !== undefined) settings.push('persistent-keepalive', `${options.keepaliveSeconds}`);
    await wgSet(side.engine, 'peer', other.keys.publicKey, ...settings);
  }

  /** Both ends know each other's endpoint. */
  async meetBoth(options: PeerOptions = {}): Promise<void> {
    await this.meet(this.left, options);
    await this.meet(this.right, options);
  }

  /** `initiator` knows the endpoint, the other end waits for it: the handshake can only come from `initiator`. */
  async meetFrom(initiator: Side, options: PeerOptions = {}): Promise<void> {
    await this.meet(this.other(initiator), { ...options, endpoint: false });
    await this.meet(initiator, options);
  }

  /** The engine dies without a word and starts anew with the same keys, port and addresses, but no peer. */
  async restart(side: Side): Promise<void> {
    await side.engine.crash();
    side.engine = await startEngine(side, this.#env);
  }
}

export function endpointOf(side: Side, outer: OuterFamily): string {
  return outer === 4 ? `${side.outer4}:${side.port}` : `[${side.outer6}]:${side.port}`;
}
