// The native pipeline in memory: the same code as the live plane, with arrays for TUN and network and a clock that is set.
// The conformance suite and the seeded scripts hold it against the reference plane. Outputs come as flat bytes
// (native/dataplane/memory_device.h) and are taken apart here.

import type { Instant } from '../../base/instant.ts';
import type { Endpoint } from '../../base/ip.ts';
import type { MemoryDataPlane, MemoryIo } from '../dataplane.ts';
import { loadAddon, type NativePlaneObject } from './addon.ts';
import { errnoName } from './explain.ts';
import { MTU_DEFAULT, NativeDataPlane, PEERS_MAX_DEFAULT, SLAB_SLOTS_DEFAULT } from './native-plane.ts';
import { readSocketAddress, SOCKET_ADDRESS_BYTES } from './scratch.ts';

export interface MemoryNativeOptions {
  readonly mtu?: number;
  readonly slabSlots?: number;
  readonly peersMax?: number;
  /** Called, within the call that caused it, when something is pending; once until `poll`. */
  readonly onWake?: () => void;
}

/** Throws when the addon cannot be loaded: there is nothing to test then. */
export function createMemoryNativePlane(options: MemoryNativeOptions = {}): MemoryDataPlane {
  const loading = loadAddon();
  if (!loading.ok) throw new Error(loading.message);
  const slabSlots = options.slabSlots ?? SLAB_SLOTS_DEFAULT;
  const opened = loading.addon.openMemory(
    { peersMax: options.peersMax ?? PEERS_MAX_DEFAULT, mtu: options.mtu ?? MTU_DEFAULT, slabSlots },
    options.onWake ?? (() => {}),
  );
  if ('code' in opened) throw new Error(`${opened.step}: ${errnoName(opened.code)}`);
  return new MemoryNativePlane(opened, slabSlots);
}

class MemoryNativePlane extends NativeDataPlane implements MemoryDataPlane {
  readonly io: MemoryIo;

  constructor(native: NativePlaneObject, slabSlots: number) {
    super(native, slabSlots);
    this.io = {
      setNow: (now: Instant) => native.setNow(now),
      setMtu: (mtu: number) => native.setMtu(mtu),
      tunInput: (packet: Uint8Array) => native.tunInput(packet),
      udpInput: (datagram: Uint8Array, source: Endpoint, local: Endpoint) => {
        this.scratch.writeFirst(source);
        this.scratch.writeSecond(local);
        native.udpInput(datagram);
      },
      takeTunOutput: () => packetsOf(native.takeTun()),
      takeUdpOutput: () => datagramsOf(native.takeUdp()),
    };
  }
}

const LENGTH_BYTES = 4;

function lengthAt(bytes: Uint8Array, at: number): number {
  return new Uint32Array(bytes.slice(at, at + LENGTH_BYTES).buffer)[0] as number;
}

function packetsOf(buffer: ArrayBuffer): Uint8Array[] {
  const bytes = new Uint8Array(buffer);
  const packets: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = lengthAt(bytes, at);
    at += LENGTH_BYTES;
    packets.push(bytes.slice(at, at + length));
    at += length;
  }
  return packets;
}

function datagramsOf(buffer: ArrayBuffer): { datagram: Uint8Array; destination: Endpoint; source: Endpoint | null }[] {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  const datagrams: { datagram: Uint8Array; destination: Endpoint; source: Endpoint | null }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const destination = readSocketAddress(view, bytes, at);
    const source = readSocketAddress(view, bytes, at + SOCKET_ADDRESS_BYTES);
    at += 2 * SOCKET_ADDRESS_BYTES;
    const length = lengthAt(bytes, at);
    at += LENGTH_BYTES;
    if (destination === null) throw new Error('broken invariant: a datagram has a destination');
    datagrams.push({ datagram: bytes.slice(at, at + length), destination, source });
    at += length;
  }
  return datagrams;
}
