// The data plane of a relay: sockets, threads and tables without a TUN. What cannot be had is told as a failure of the start. Opening its
// port is the engine's.

import type { DataPlane } from '../dataplane/dataplane.ts';
import { createNativePlane } from '../dataplane/native/native-plane.ts';
import { StartError } from '../service/start-error.ts';

/** The plane's tables grow as members come; this bounds them. */
const PEERS_MAX = 1_048_576;

/** Throws a StartError. */
export function createRelayPlane(onWake: () => void): DataPlane {
  const opened = createNativePlane({ tun: 'none', peersMax: PEERS_MAX, onWake });
  if (opened.ok) return opened.plane;
  throw new StartError({ what: 'cannot open the data plane of a relay', why: opened.message, help: null });
}
