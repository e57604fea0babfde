// Chaos: what people and networks do to a group of hosts, one drawn act at a time. Each act leaves the world in a state
// that real life could produce; `heal` afterwards makes every host know every other's present key and address.

import type { Endpoint } from '../base/ip.ts';
import type { Host } from './host.ts';
import type { Invariants } from './invariants.ts';
import { type Datagram, PERFECT } from './network.ts';
import type { World } from './world.ts';

const CAPTURED_MAX = 64;

export class Chaos {
  readonly #world: World;
  readonly #invariants: Invariants;
  readonly #captured: Datagram[] = [];
  readonly #presharedKeys = new Map<string, Uint8Array>();
  #sequence = 1;
  #moves = 0;
  /** What was done, in words, with its instant: the story of a failed run. */
  readonly story: string[] = [];

  constructor(world: World, invariants: Invariants) {
    this.#world = world;
    this.#invariants = invariants;
    world.network.taps.push((datagram) => {
      if (this.#captured.length < CAPTURED_MAX) this.#captured.push(datagram);
      else if (world.prng.chance(0.05)) this.#captured[world.prng.nextInt(0, CAPTURED_MAX - 1)] = datagram;
    });
  }

  /** Makes every two hosts peers, with a preshared key for about a third of the pairs. */
  introduceAll(): void {
    const { hosts, prng } = this.#world;
    for (const a of hosts) {
      for (const b of hosts) {
        if (a.name < b.name && prng.chance(0.3)) {
          const key = new Uint8Array(32);
          prng.fill(key);
          this.#presharedKeys.set(`${a.name}:${b.name}`, key);
        }
      }
    }
    for (const a of hosts) for (const b of hosts) if (a !== b) this.introduce(a, b);
  }

  /** Makes `b` a peer of `a` under its present key and address. */
  introduce(a: Host, b: Host): void {
    const presharedKey = this.#presharedKeys.get(a.name < b.name ? `${a.name}:${b.name}` : `${b.name}:${a.name}`);
    a.addPeer(b, {
      keepaliveSeconds: this.#world.prng.chance(0.1) ? 25 : 0,
      ...(presharedKey === undefined ? {} : { presharedKey }),
    });
  }

  /** Removes from `a` every peer that is or was `b`. */
  forget(a: Host, b: Host): void {
    a.configure((engine, now) => {
      for (const key of b.publicKeys) {
        const peer = engine.peer(key);
        if (peer !== undefined) engine.removePeer(peer, now);
      }
    });
    this.#invariants.noteForgotten(a);
  }

  /** A packet from `a` to `b`; its sequence number. */
  send(a: Host, b: Host): number {
    const sequence = this.#sequence++;
    const family = this.#world.prng.chance(0.5) ? 4 : 6;
    const index = family === 4 ? 0 : 1;
    this.#invariants.noteSent(a.addresses[index] as never, b.addresses[index] as never, sequence);
    a.send(b, sequence, { family, payloadBytes: this.#world.prng.nextInt(12, 200) });
    return sequence;
  }

  /** One drawn act. */
  act(): void {
    const { prng, hosts } = this.#world;
    const host = prng.pick(hosts);
    const other = prng.pick(hosts.filter((candidate) => candidate !== host));
    const draw = prng.nextInt(0, 99);
    if (draw < 45) this.#burst(host, other);
    else if (draw < 55) this.#weather();
    else if (draw < 62) this.#partition(host);
    else if (draw < 69) this.#move(host);
    else if (draw < 74) this.#reboot(host);
    else if (draw < 79) this.#stepClock(host);
    else if (draw < 83) this.#changeKey(host);
    else if (draw < 87) this.#flapLink(host);
    else if (draw < 91) this.#forgetAndReturn(host, other);
    else this.#attack(host);
  }

  #tell(what: string): void {
    this.story.push(`${(this.#world.now / 1000).toFixed(3)} ${what}`);
  }

  #burst(a: Host, b: Host): void {
    const packets = this.#world.prng.nextInt(1, 30);
    this.#tell(`${a.name} sends ${packets} packets to ${b.name}`);
    for (let i = 0; i < packets; i++) this.send(a, b);
  }

  #weather(): void {
    const { prng, network } = this.#world;
    network.conditions = {
      latencyMs: prng.nextInt(1, 150),
      jitterMs: prng.chance(0.5) ? prng.nextInt(1, 400) : 0,
      loss: prng.chance(0.5) ? prng.nextFloat() * 0.3 : 0,
      duplication: prng.chance(0.3) ? prng.nextFloat() * 0.2 : 0,
      corruption: prng.chance(0.3) ? prng.nextFloat() * 0.1 : 0,
    };
    this.#tell(`the network becomes ${JSON.stringify(network.conditions)}`);
  }

  #partition(host: Host): void {
    const until = this.#world.now + this.#world.prng.nextInt(500, 40_000);
    this.#tell(`${host.name} is cut off until ${(until / 1000).toFixed(3)}`);
    const before = this.#world.network.blocked;
    this.#world.network.blocked = (datagram) =>
      (this.#world.now < until && (datagram.source === host.endpoint || datagram.destination === host.endpoint)) ||
      before(datagram);
  }

  #move(host: Host): void {
    const number = ++this.#moves;
    const endpoint = `203.0.${(number >> 8) & 255}.${number & 255}:${this.#world.prng.nextInt(1024, 65_535)}`;
    this.#tell(`${host.name} moves to ${endpoint}`);
    host.move(endpoint as Endpoint);
  }

  #reboot(host: Host): void {
    this.#tell(`${host.name} reboots`);
    host.reboot();
    this.#invariants.noteForgotten(host);
    for (const other of this.#world.hosts) if (other !== host) this.introduce(host, other);
  }

  #stepClock(host: Host): void {
    const by = this.#world.prng.nextInt(-3_600_000, 3_600_000);
    this.#tell(`${host.name}'s clock steps by ${by} ms`);
    host.stepClock(by);
  }

  #changeKey(host: Host): void {
    this.#tell(`${host.name} changes its key`);
    const old = host.publicKeyHex;
    host.changeKey();
    // The others hear of it one by one.
    for (const other of this.#world.hosts) {
      if (other === host) continue;
      this.#world.schedule(this.#world.prng.nextInt(0, 5_000), () => {
        const peer = other.engine.peer(old);
        if (peer === undefined) return;
        other.configure((engine, now) => engine.removePeer(peer, now));
        this.#invariants.noteForgotten(other);
        this.introduce(other, host);
      });
    }
  }

  #flapLink(host: Host): void {
    this.#tell(`${host.name}'s link goes down and up`);
    host.configure((engine, now) => engine.linkDown(now));
    this.#world.schedule(this.#world.prng.nextInt(0, 3_000), () => host.configure((engine, now) => engine.linkUp(now)));
  }

  #forgetAndReturn(a: Host, b: Host): void {
    this.#tell(`${a.name} removes ${b.name} for a while`);
    this.forget(a, b);
    this.#world.schedule(this.#world.prng.nextInt(0, 10_000), () => {
      if (a.engine.peer(b.publicKeyHex) === undefined) this.introduce(a, b);
    });
  }

  /** Someone on the path replays what was captured, from where it came or from elsewhere, and sends noise. */
  #attack(host: Host): void {
    const { prng } = this.#world;
    this.#tell(`an attacker plays with ${host.name}`);
    for (let i = 0; i < 20 && this.#captured.length > 0; i++) {
      const datagram = prng.pick(this.#captured);
      const bytes = datagram.bytes.slice();
      if (prng.chance(0.3) && bytes.length > 0) bytes[prng.nextInt(0, bytes.length - 1)] = prng.nextInt(0, 255);
      const source = prng.chance(0.5) ? datagram.source : (`198.51.100.${prng.nextInt(1, 254)}:6666` as Endpoint);
      host.plane.io.udpInput(bytes, source, host.endpoint);
    }
    host.run();
  }

  /** Good weather, and everyone knows everyone's present key and address. Clocks stay as they are. */
  heal(): void {
    const { hosts, network } = this.#world;
    this.#tell('everything heals');
    network.conditions = { ...PERFECT };
    network.blocked = () => false;
    for (const a of hosts) {
      if (!a.engine.running) a.configure((engine, now) => engine.linkUp(now));
      for (const b of hosts) {
        if (a === b) continue;
        for (const key of b.publicKeys) {
          const stale = key === b.publicKeyHex ? undefined : a.engine.peer(key);
          if (stale !== undefined) a.configure((engine, now) => engine.removePeer(stale, now));
        }
        this.introduce(a, b);
      }
    }
  }
}
