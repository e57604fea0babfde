// A machine of a bench: a daemon in the mesh, at a place of the NAT lab.

import type { Site } from '../../test/integration/nat-lab/lib/site.ts';
import type { Host } from '../../test/interop/lib/lab.ts';
import type { MeshMachine } from '../../test/interop/lib/mesh.ts';

export interface PathNode {
  readonly name: string;
  readonly site: Site;
  readonly host: Host;
  readonly machine: MeshMachine;
  /** Inside the mesh. */
  readonly ipv4: string;
}
