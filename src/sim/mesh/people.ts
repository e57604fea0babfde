// What people do after chaos until a mesh is whole again: they start machines, enable, approve and renew them, and hand out
// a join link to those that were told to join again. Some machines they leave as they are: those must stay locked out.

import type { NodeRecord } from '../../controller/state/model.ts';
import { isExpired } from '../../controller/state/state-view.ts';
import type { MeshWorld } from './mesh-world.ts';
import type { NodeHost } from './node-host.ts';

/** A range with as many addresses does not run out. */
const ROOMY = 1_000;
/** Left free for machines that join later. */
const ROOM = 2;

export class People {
  readonly #world: MeshWorld;
  /** Machines that are to be in: as many as there is room for. */
  readonly wanted: readonly NodeHost[];
  #link: string | null = null;

  /** Whether the nodes of all other machines go, and those that their machines have forgotten: addresses are short. */
  readonly #makesRoom: boolean;

  constructor(world: MeshWorld, wanted: readonly NodeHost[]) {
    this.#makesRoom = world.capacity < ROOMY || world.prng.chance(0.3);
    this.#world = world;
    this.wanted = wanted.slice(0, Math.max(0, world.capacity - ROOM));
  }

  /** Settings that let everybody in, no planned expiry, and a join link for all. */
  prepare(): void {
    const { controller } = this.#world;
    controller.administer({ action: 'settings.change', edit: { requireApproval: false } });
    for (const { id, expiresAt } of controller.core?.state.nodes() ?? []) {
      if (expiresAt !== null) controller.administer({ action: 'nodes.change', node: id, edit: { expiresAt: null } });
    }
    controller.administer(
      {
        action: 'keys.create',
        input: {
          description: '',
          reusable: true,
          ephemeral: false,
          preApproved: true,
          tags: [],
          expiresInSeconds: null,
        },
      },
      (answer) => {
        if (answer.ok && answer.result.kind === 'authKeyCreated') this.#link = answer.result.secret;
      },
    );
  }

  get link(): string | null {
    return this.#link;
  }

  /** Looks at every machine once, and does what its state asks for. */
  look(): void {
    if (this.#makesRoom) this.#makeRoom();
    for (const host of this.wanted) this.#lookAt(host);
  }

  #makeRoom(): void {
    const { controller } = this.#world;
    for (const { id, publicKey } of controller.core?.state.nodes() ?? []) {
      if (this.wanted.some((host) => host.holdsKey(publicKey))) continue;
      controller.administer({ action: 'nodes.remove', node: id });
    }
  }

  #lookAt(host: NodeHost): void {
    const { controller } = this.#world;
    const record = this.recordOf(host);
    if (record !== undefined && this.#letIn(record)) return;
    if (host.running === null) {
      this.#world.tell(`${host.name} is started by a person`);
      host.start(null);
      return;
    }
    const { step, problem } = host.client?.status() ?? { step: 'stopped', problem: null };
    if (problem !== null && this.#link !== null) {
      this.#world.tell(`${host.name} joins again by a person: ${problem.code}`);
      host.join(this.#link);
    } else if (step === 'pending' && record !== undefined) {
      controller.administer({ action: 'nodes.approve', node: record.id });
    }
  }

  /** True when the record had to be changed for it; then the machine is looked at another time. */
  #letIn(record: NodeRecord): boolean {
    const { controller } = this.#world;
    const { id } = record;
    if (record.disabled || isExpired(record, controller.wall())) {
      controller.administer({ action: 'nodes.change', node: id, edit: { disabled: false, expiresAt: null } });
      return true;
    }
    if (record.approved) return false;
    controller.administer({ action: 'nodes.approve', node: id });
    return true;
  }

  /** Of what it is now: records of keys that it has forgotten are of machines that are lost. */
  recordOf(host: NodeHost): NodeRecord | undefined {
    const state = this.#world.controller.core?.state;
    for (const key of host.publicKeys) {
      const record = host.holdsKey(key) ? state?.nodeByKey(key) : undefined;
      if (record !== undefined) return record;
    }
    return undefined;
  }
}
