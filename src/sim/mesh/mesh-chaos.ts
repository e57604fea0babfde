// Chaos: what people, machines and networks do to a mesh, one drawn act at a time. Each leaves the world in a state that real
// life could produce. What heals it afterwards is mesh-healing.ts.

import type { WallTime } from '../../base/instant.ts';
import type { IpAddress } from '../../base/ip.ts';
import { HOST_MIN } from '../../controller/state/addresses.ts';
import type { NodeRecord, StoredState } from '../../controller/state/model.ts';
import type { NodeName } from '../../protocol/values.ts';
import type { Datagram } from '../network.ts';
import { GOOD_STORE } from './memory-store.ts';
import { GOOD_CONTROL, type MeshWorld } from './mesh-world.ts';
import type { NodeHost } from './node-host.ts';

const CAPTURED_MAX = 64;
const ATTACKS = 10;
const FLAPS = 15;
const FLAP_MS = 200;

type Act = (chaos: MeshChaos, host: NodeHost) => void;

/** How often each act is drawn, beside the others. Those without a machine are of what there is one of. */
const ACTS: readonly (readonly [number, Act])[] = [
  [30, (chaos, host) => chaos.burst(host)],
  [6, (chaos) => chaos.weather()],
  [4, (chaos, host) => chaos.partition(host)],
  [5, (chaos, host) => chaos.cutFromController(host)],
  [4, (chaos, host) => chaos.breakConnection(host)],
  [2, (chaos) => chaos.controlWeather()],
  [3, (chaos) => chaos.storeWeather()],
  [4, (chaos) => chaos.killController()],
  [3, (chaos) => chaos.killInCommit()],
  [1, (chaos) => chaos.restoreController()],
  [5, (chaos, host) => chaos.move(host)],
  [1, (chaos, host) => chaos.flap(host)],
  [6, (chaos, host) => chaos.restart(host)],
  [3, (chaos, host) => chaos.down(host)],
  [2, (chaos, host) => chaos.logout(host)],
  [3, (chaos, host) => chaos.stepClock(host)],
  [4, (chaos, host) => chaos.rotate(host)],
  [10, (chaos, host) => chaos.join(host)],
  [1, (chaos) => chaos.revoke()],
  [2, (chaos) => chaos.race()],
  [12, (chaos, host) => chaos.administer(host)],
  [3, (chaos, host) => chaos.attack(host)],
];
const ACTS_TOTAL = ACTS.reduce((sum, [weight]) => sum + weight, 0);

export class MeshChaos {
  readonly #world: MeshWorld;
  readonly #captured: Datagram[] = [];
  /** Secrets of join links that were given out. */
  readonly #links: string[] = [];
  #backup: StoredState | null = null;
  #names = 0;
  #isOver = false;

  constructor(world: MeshWorld) {
    this.#world = world;
    world.network.taps.push((datagram) => {
      if (this.#captured.length < CAPTURED_MAX) this.#captured.push(datagram);
      else if (world.prng.chance(0.05)) this.#captured[world.prng.nextInt(0, CAPTURED_MAX - 1)] = datagram;
    });
  }

  /** Most machines join within the first seconds, by one link for all or each by its own. */
  begin(): void {
    const world = this.#world;
    const shared = world.prng.chance(0.5);
    const wanted = world.hosts.filter(() => world.prng.chance(0.8));
    if (shared) {
      this.#makeLink({ reusable: true }, (link) => {
        for (const host of wanted) world.schedule(world.prng.nextInt(0, 2_000), () => host.join(link));
      });
    } else for (const host of wanted) this.#makeLink({}, (link) => host.join(link));
  }

  /** One drawn act. */
  act(): void {
    const { prng, hosts } = this.#world;
    let draw = prng.nextInt(0, ACTS_TOTAL - 1);
    for (const [weight, act] of ACTS) {
      draw -= weight;
      if (draw >= 0) continue;
      // More machines live faster (mesh-run.ts); what there is one of does not.
      if (act.length < 2 && prng.chance(1 - 1 / Math.sqrt(hosts.length))) break;
      act(this, prng.pick(hosts));
      return;
    }
    this.burst(prng.pick(hosts));
  }

  #tell(what: string): void {
    this.#world.tell(what);
  }

  // — traffic —

  burst(from: NodeHost): void {
    const { prng, traffic } = this.#world;
    const to = prng.pick([...(from.mesh?.netmap.nodes() ?? [undefined])]);
    if (to === undefined) return;
    const packets = prng.nextInt(1, 10);
    this.#tell(`${from.name} sends ${packets} packets to ${to.name}`);
    for (let i = 0; i < packets; i++) {
      traffic.send(from, prng.chance(0.5) ? to.address4 : to.address6, prng.nextInt(12, 200));
    }
  }

  weather(): void {
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

  partition(host: NodeHost): void {
    const world = this.#world;
    const until = world.now + world.prng.nextInt(500, 40_000);
    this.#tell(`${host.name} is cut off from the other machines`);
    const before = world.network.blocked;
    world.network.blocked = (datagram) =>
      (world.now < until && (datagram.source === host.endpoint || datagram.destination === host.endpoint)) ||
      before(datagram);
  }

  /** Someone on the path replays what was captured, from where it came or from elsewhere, and sends noise. */
  attack(host: NodeHost): void {
    const { prng } = this.#world;
    this.#tell(`an attacker plays with ${host.name}`);
    for (let i = 0; i < ATTACKS && this.#captured.length > 0; i++) {
      const datagram = prng.pick(this.#captured);
      const bytes = datagram.bytes.slice();
      if (prng.chance(0.3) && bytes.length > 0) bytes[prng.nextInt(0, bytes.length - 1)] = prng.nextInt(0, 255);
      const elsewhere = `198.51.100.${prng.nextInt(1, 254)}:6666` as typeof datagram.source;
      host.inject(bytes, prng.chance(0.5) ? datagram.source : elsewhere);
    }
  }

  // — the way to the controller —

  cutFromController(host: NodeHost): void {
    const { prng, now } = this.#world;
    host.controllerCutUntil = now + prng.nextInt(500, 90_000);
    const stalls = prng.chance(0.5);
    this.#tell(`${host.name} cannot reach the controller for ${((host.controllerCutUntil - now) / 1000).toFixed(3)} s`);
    host.running?.stream?.fallsSilent(stalls);
  }

  breakConnection(host: NodeHost): void {
    this.#tell(`the connection of ${host.name} to the controller breaks`);
    host.running?.stream?.breaks();
  }

  controlWeather(): void {
    const { prng } = this.#world;
    const control = {
      latencyMs: prng.nextInt(1, 200),
      jitterMs: prng.nextInt(0, 500),
      writeMs: prng.chance(0.3) ? prng.nextInt(100, 5_000) : prng.nextInt(1, 20),
    };
    this.#world.control = control;
    this.#tell(`connections to the controller become ${JSON.stringify(control)}`);
  }

  // — the controller —

  storeWeather(): void {
    const { prng, controller } = this.#world;
    controller.store.conditions = prng.chance(0.4)
      ? { ...GOOD_STORE }
      : {
          commitMs: prng.nextInt(1, 2_000),
          toldMs: prng.nextInt(1, 500),
          failure: prng.chance(0.5) ? prng.nextFloat() * 0.5 : 0,
        };
    this.#tell(`the store becomes ${JSON.stringify(controller.store.conditions)}`);
  }

  killController(): void {
    const { prng, controller } = this.#world;
    if (!controller.running) return;
    const draw = prng.nextInt(0, 2);
    this.#tell(
      ['the controller is killed', "the controller's machine is gone", 'the controller stops'][draw] as string,
    );
    if (draw === 2) controller.stop();
    else controller.kill(draw === 1);
    this.#startLater();
  }

  /** At a moment of the next transaction: before it is durable, or durable and not told, or told. */
  killInCommit(): void {
    const { prng, controller } = this.#world;
    this.#tell('the controller will be killed in its next transaction');
    const { store } = controller;
    store.onCommit = () => {
      store.onCommit = () => undefined;
      const { commitMs, toldMs } = store.conditions;
      this.#world.schedule(prng.nextFloat() * (commitMs + toldMs), () => {
        if (!controller.running || this.#isOver) return;
        this.#tell('the controller is killed in a transaction');
        controller.kill(false);
        this.#startLater();
      });
    };
  }

  #startLater(): void {
    const { prng, controller } = this.#world;
    this.#world.schedule(prng.nextInt(100, 20_000), () => {
      if (controller.running) return;
      this.#tell('the controller starts');
      controller.start();
    });
  }

  /** First a backup is made; later, sometimes, it takes the place of the store. */
  restoreController(): void {
    const { controller, committed } = this.#world;
    if (this.#backup === null) {
      this.#tell('a backup is made');
      this.#backup = controller.store.load();
      return;
    }
    this.#tell('the controller comes back from the backup');
    controller.kill(false);
    controller.restore(this.#backup);
    committed.restored(this.#backup);
    this.#backup = null;
    this.#startLater();
  }

  // — machines —

  move(host: NodeHost): void {
    const endpoint = this.#world.newEndpoint(host);
    this.#tell(`${host.name} moves to ${endpoint}`);
    host.move(endpoint, this.#world.prng.nextInt(0, 2_000));
  }

  /** From address to address, faster than anyone can be told. */
  flap(host: NodeHost): void {
    this.#tell(`${host.name} flaps`);
    for (let i = 0; i < FLAPS; i++) {
      this.#world.schedule(i * FLAP_MS, () => host.move(this.#world.newEndpoint(host), 0));
    }
  }

  restart(host: NodeHost): void {
    const { prng } = this.#world;
    if (host.running === null) {
      this.#tell(`${host.name} starts`);
      host.start(null);
      return;
    }
    const silently = prng.chance(0.5);
    this.#tell(`${host.name} ${silently ? 'loses power' : 'is killed'}`);
    host.crash(silently);
    const lost = prng.nextInt(0, 5);
    if (lost === 0) host.disk.saved = null;
    if (lost === 1) host.disk.saved = host.disk.older;
    this.#world.schedule(prng.nextInt(0, 30_000), () => {
      if (host.running !== null) return;
      this.#tell(`${host.name} starts`);
      host.start(null);
    });
  }

  down(host: NodeHost): void {
    if (host.running === null) return;
    this.#tell(`${host.name} goes down`);
    host.stop('down');
    this.#world.schedule(this.#world.prng.nextInt(0, 60_000), () => host.start(null));
  }

  logout(host: NodeHost): void {
    if (host.running === null) return;
    this.#tell(`${host.name} logs out`);
    host.stop('logout');
  }

  stepClock(host: NodeHost): void {
    const { prng, controller } = this.#world;
    const by = prng.nextInt(-3_600_000, 3_600_000);
    if (prng.chance(0.3)) {
      this.#tell(`the controller's clock steps by ${by} ms`);
      controller.wallOffsetMs += by;
      return;
    }
    this.#tell(`${host.name}'s clock steps by ${by} ms`);
    host.stepClock(by);
  }

  rotate(host: NodeHost): void {
    if (host.rotateKey()) this.#tell(`${host.name} changes its key`);
  }

  // — joining —

  join(host: NodeHost): void {
    const { prng } = this.#world;
    const problem = host.client?.status().problem ?? null;
    if (host.running !== null && problem === null && host.isConnected) return;
    if (this.#links.length > 0 && prng.chance(0.4)) {
      this.#tell(`${host.name} joins by a link that was given out before`);
      host.join(prng.pick(this.#links));
      return;
    }
    this.#makeLink(
      {
        reusable: prng.chance(0.3),
        ephemeral: prng.chance(0.3),
        preApproved: prng.chance(0.5),
        expiresInSeconds: prng.chance(0.2) ? 5 : 86_400,
      },
      (link) => {
        this.#tell(`${host.name} joins by a new link`);
        this.#world.schedule(prng.nextInt(0, 10_000), () => host.join(link));
      },
    );
  }

  /** A link is revoked, or somebody makes one up. */
  revoke(): void {
    const { prng, controller } = this.#world;
    if (prng.chance(0.3)) {
      this.#links.push('a-secret-that-nobody-made-0123456789');
      return;
    }
    const keys = [...(controller.core?.state.authKeys() ?? [])];
    if (keys.length === 0) return;
    const { id } = prng.pick(keys);
    this.#tell(`join link ${id} is revoked`);
    controller.administer({ action: 'keys.revoke', id });
  }

  /** Two machines with one link for one. */
  race(): void {
    const { prng, hosts } = this.#world;
    const out = hosts.filter((host) => host.running === null || (host.client?.status().problem ?? null) !== null);
    const [a, b] = out;
    if (a === undefined || b === undefined) return;
    this.#tell(`${a.name} and ${b.name} race with one link`);
    this.#makeLink({}, (link) => {
      for (const host of [a, b]) this.#world.schedule(prng.nextInt(0, 3), () => host.join(link));
    });
  }

  #makeLink(
    options: { reusable?: boolean; ephemeral?: boolean; preApproved?: boolean; expiresInSeconds?: number },
    then: (secret: string) => void,
  ): void {
    this.#world.controller.administer(
      {
        action: 'keys.create',
        input: {
          description: '',
          reusable: false,
          ephemeral: false,
          preApproved: false,
          tags: [],
          expiresInSeconds: 86_400,
          ...options,
        },
      },
      (answer) => {
        if (!answer.ok || answer.result.kind !== 'authKeyCreated') return;
        this.#links.push(answer.result.secret);
        then(answer.result.secret);
      },
    );
  }

  // — administration —

  administer(host: NodeHost): void {
    const { prng, controller } = this.#world;
    const record = controller.core?.state.nodeByKey(host.disk.current.publicKey);
    if (record === undefined) return;
    const { id } = record;
    switch (prng.nextInt(0, 9)) {
      case 0:
      case 1:
        this.#tell(`${record.name} (${host.name}) is removed`);
        controller.administer({ action: 'nodes.remove', node: id });
        break;
      case 2:
        this.#tell(`${record.name} (${host.name}) is expired`);
        controller.administer({ action: 'nodes.expire', node: id });
        break;
      case 3:
        this.#tell(`${record.name} (${host.name}) will expire`);
        this.#change(record, { expiresAt: (controller.wall() + prng.nextInt(1_000, 60_000)) as WallTime });
        break;
      case 4:
        this.#tell(`${record.name} (${host.name}) is ${record.disabled ? 'enabled' : 'disabled'}`);
        this.#change(record, { disabled: !record.disabled });
        break;
      case 5:
      case 6:
        this.#rename(record);
        break;
      case 7:
        this.#readdress(record);
        break;
      case 8:
        this.#tell(`${record.name} (${host.name}) is approved`);
        controller.administer({ action: 'nodes.approve', node: id });
        break;
      default:
        this.#change(record, { tags: [`tag${prng.nextInt(1, 3)}`], expiresAt: null });
        break;
    }
  }

  #change(record: NodeRecord, edit: Parameters<typeof editOf>[1]): void {
    this.#world.controller.administer(editOf(record, edit));
  }

  #rename(record: NodeRecord): void {
    const { prng, controller } = this.#world;
    // Sometimes to a name that another has, or had.
    const name = prng.chance(0.3) ? `host${prng.nextInt(1, 8)}` : `name${++this.#names}`;
    this.#tell(`${record.name} is renamed to ${name}`);
    controller.administer({ action: 'nodes.rename', node: record.id, name: name as NodeName });
  }

  /** Sometimes to addresses that another has, or had, or that nobody may have. */
  #readdress(record: NodeRecord): void {
    const { prng } = this.#world;
    const host = prng.nextInt(HOST_MIN - 1, 14);
    this.#tell(`${record.name} is to have the addresses of number ${host}`);
    this.#change(record, {
      addresses: {
        address4: `10.77.0.${host}` as IpAddress,
        address6: `fd77::${host.toString(16)}` as IpAddress,
      },
    });
  }

  /** Good weather, and everything that was cut is whole. What it takes to bring the machines back is up to people. */
  calm(): void {
    const world = this.#world;
    this.#tell('everything heals');
    this.#isOver = true;
    world.network.conditions = { latencyMs: 10, jitterMs: 0, loss: 0, duplication: 0, corruption: 0 };
    world.network.blocked = () => false;
    world.control = { ...GOOD_CONTROL };
    world.controller.store.onCommit = () => undefined;
    world.controller.store.conditions = { ...GOOD_STORE };
    for (const host of world.hosts) host.controllerCutUntil = 0;
    world.controller.start();
  }
}

type Edit = Extract<Parameters<MeshWorld['controller']['administer']>[0], { action: 'nodes.change' }>['edit'];

function editOf(record: NodeRecord, edit: Edit): Parameters<MeshWorld['controller']['administer']>[0] {
  return { action: 'nodes.change', node: record.id, edit };
}
