// What a member of a network (a node, a relay) wants of its connection to the controller. mesh-control.ts is it over WebSocket
// and Noise; tests say themselves what the controller says.

import type { IpAddress } from '../base/ip.ts';
import type { ControlOutputs, ControlStart } from '../mesh/control-client.ts';
import type { ControlStatus } from '../mesh/control-status.ts';
import type { PunchRequest } from '../protocol/control.ts';
import type { Reach } from '../protocol/reach.ts';
import type { Candidate, PublicKeyText } from '../protocol/values.ts';

export interface Control {
  start(start: ControlStart): void;
  /** Resolves when what was said has left, or could not within a second. */
  stop(goodbye: 'down' | 'logout' | null): Promise<void>;
  setCandidates(candidates: readonly Candidate[], listenPort: number): void;
  setReach(reach: Reach | null): void;
  /** Where the controller, or a proxy before it, was reached; null while there is no connection. */
  controllerAddress(): IpAddress | null;
  networkChanged(): void;
  punch(request: PunchRequest): boolean;
  resync(): void;
  rotateKey(publicKey: PublicKeyText): boolean;
  nextKeyPersisted(publicKey: PublicKeyText): void;
  status(): ControlStatus;
}

/** What of the control client's outputs is for the mesh node. None may call back into Control. */
export type ControlEvents = Pick<
  ControlOutputs,
  'welcome' | 'snapshot' | 'delta' | 'punch' | 'persistNextKey' | 'keySwitched' | 'nextKeyRefused' | 'changed'
>;

export interface ControlSettings {
  readonly url: string;
  /** 43 characters, base64url. */
  readonly controllerKey: string;
  /** A fresh copy of the secret, owned and zeroed by whoever asks; `next` while a rotation runs. */
  readonly privateKey: (which: 'current' | 'next') => Uint8Array;
  readonly events: ControlEvents;
}

export type OpenControl = (settings: ControlSettings) => Control;
