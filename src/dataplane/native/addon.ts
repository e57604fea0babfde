// Finds and loads the native addon, and puts into words why it cannot: missing build, wrong C library, wrong architecture,
// too old a system. Looked for, in this order: the file that WARREN_ADDON names, build/Release/warren.node (npm run
// build:native), prebuilds/linux-<arch>-<libc>/warren.node. The types here are the addon's whole surface.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** An expected failure of the operating system: errno, and the step that failed. */
export interface NativeFailure {
  readonly code: number;
  readonly step: string;
}

export interface NativePlaneOptions {
  readonly peersMax: number;
  readonly mtu: number;
  readonly slabSlots: number;
}

export interface NativeLiveOptions extends NativePlaneOptions {
  /** False: sockets alone; `ifname` and `tunFd` mean nothing then. */
  readonly tun: boolean;
  readonly ifname: string;
  readonly queues: number;
  /** −1: open a device. */
  readonly tunFd: number;
  readonly tunOffloads: boolean;
  readonly udpOffloads: boolean;
}

/** What a live plane found and uses; for status and bug reports. */
export interface NativeStatus {
  /** Empty, and `ifindex` 0, without a TUN. */
  readonly ifname: string;
  readonly ifindex: number;
  readonly mtu: number;
  readonly queues: number;
  /** Name of the cipher's implementation. */
  readonly aead: string;
  /** False: RLIMIT_MEMLOCK kept session keys from being locked into memory. */
  readonly keysLocked: boolean;
  readonly tunVnetHeader: boolean;
  readonly tunChecksum: boolean;
  readonly tunTso: boolean;
  readonly tunUso: boolean;
  /** Segments of one super-packet, as the kernel was told; 0 = it did not take it. */
  readonly gsoMaxSegments: number;
  readonly udpGro: boolean;
  readonly udpGso: boolean;
  readonly udpSegmentsMax: number;
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
  /** Times a worker thread came back from poll(2); an idle device adds none. */
  readonly workerWakeUps: number;
}

/** native/binding/plane_methods.cc and device_methods.cc. Endpoints, prefixes and limits go through the scratch memory. */
export interface NativePlaneObject {
  addPeer(roaming: boolean): number;
  removePeer(peer: number): void;
  setEndpoint(peer: number): void;
  endpoint(peer: number): void;
  clearSource(peer: number): void;
  setPathMtu(peer: number, mtu: number): void;
  setRelaySlot(peer: number, slot: Uint8Array | null, bytesPerSecond: number, burstBytes: number): void;
  insertAllowedIp(peer: number, ipv6: boolean, length: number): void;
  removeAllowedIp(peer: number, ipv6: boolean, length: number): void;
  recordChunk(index: number): ArrayBuffer;
  expectIndex(index: number, peer: number): boolean;
  forgetIndex(index: number): void;
  installKeypair(
    peer: number,
    localIndex: number,
    remoteIndex: number,
    sendKey: Uint8Array,
    receiveKey: Uint8Array,
    initiator: boolean,
  ): void;
  expireSending(peer: number): void;
  clearKeypairs(peer: number): void;
  canSend(peer: number, now: number): boolean;
  flushStaged(peer: number, now: number): number;
  dropStaged(peer: number, unreachable: boolean, now: number): number;
  sendKeepalive(peer: number, now: number): boolean;
  sendFrame(peer: number, frame: Uint8Array, now: number): boolean;
  /** A number of FRAME_SENT (native-plane.ts). */
  sendFrameTo(peer: number, frame: Uint8Array, dontFragment: boolean, now: number): number;
  sendHandshake(peer: number, message: Uint8Array, now: number): boolean;
  sendTo(datagram: Uint8Array): boolean;
  reply(handle: number, datagram: Uint8Array): boolean;
  authenticated(peer: number, handle: number, now: number): void;
  poll(now: number): number;
  backlog(): number;
  release(count: number): void;
  rearm(peer: number, notifications: number, now: number): void;
  setPublicKey(key: Uint8Array | null): void;
  now(): number;
  /** The port, or minus the errno. */
  bind(port: number, fwmark: number): number;
  unbind(): void;
  setFwmark(fwmark: number): void;
  setDeadline(at: number): void;
  setRelay(relay: number): void;
  close(): void;
  counters(): void;
  scratchMemory(): ArrayBuffer;
  descriptorMemory(): ArrayBuffer;
  slabMemory(): ArrayBuffer;
  setNow(now: number): void;
  setMtu(mtu: number): void;
  tunInput(packet: Uint8Array): void;
  udpInput(datagram: Uint8Array): void;
  takeTun(): ArrayBuffer;
  takeUdp(): ArrayBuffer;
  holdLoop(hold: boolean): void;
  status(): NativeStatus;
}

export interface NativeNetlinkOptions {
  /** NETLINK_ROUTE = 0. */
  readonly protocol: number;
  /** RTMGRP_… of what to hear unasked. */
  readonly groups: number;
  /** Wanted; 0 = the system's. */
  readonly receiveBufferBytes: number;
}

/** native/binding/os_objects.cc. Does not keep the process alive. */
export interface NativeNetlink {
  /** One datagram to the kernel; borrowed. Null when it went out. */
  send(datagram: Uint8Array): NativeFailure | null;
  /**
   * The next datagram, of the kernel and whole; null when none waits. ENOBUFS and EMSGSIZE: datagrams were lost, and what is
   * known must be asked for again; reading goes on.
   */
  receive(): Uint8Array | NativeFailure | null;
  /** `onReadable` is called once: at once when something waits already. So it is at first; from then on it is asked for. */
  arm(): void;
  close(): void;
}

export interface NativeClockWatch {
  /** Whether the wall clock was set or the machine slept since the last call; then, and only then, the next change is told. */
  acknowledge(): boolean;
  close(): void;
}

export interface NativeAddon {
  openMemory(options: NativePlaneOptions, onWake: () => void): NativePlaneObject | NativeFailure;
  openLive(options: NativeLiveOptions, onWake: () => void): NativePlaneObject | NativeFailure;
  dropPrivileges(): NativeFailure | null;
  /** Of a process that has no use for any: once its sockets are open. */
  dropAllPrivileges(): NativeFailure | null;
  disableCoreDumps(): NativeFailure | null;
  raiseMemlockLimit(): NativeFailure | null;
  openNetlink(options: NativeNetlinkOptions, onReadable: () => void): NativeNetlink | NativeFailure;
  watchClock(onChange: () => void): NativeClockWatch | NativeFailure;
  /** Milliseconds of CLOCK_BOOTTIME: the clock of planes, without a plane. */
  boottime(): number;
  /** One datagram to a unix socket, a path's or '@' and an abstract name. Never waits. */
  unixDatagram(path: string, bytes: Uint8Array): NativeFailure | null;
  /** Null, or why the cipher is not to be used. */
  selfTest(): string | null;
  /** Name of the cipher's implementation that planes get here; null when there is none. */
  aeadTier(): string | null;
}

export type AddonResult =
  | { readonly ok: true; readonly addon: NativeAddon; readonly path: string }
  | { readonly ok: false; readonly message: string };

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

let loaded: AddonResult | undefined;

/** Loads it once per thread; a failure is remembered too. */
export function loadAddon(): AddonResult {
  loaded ??= load(candidates(ROOT, process.env['WARREN_ADDON'] ?? ''));
  return loaded;
}

/** Where the addon may be, the likeliest first. `named`: what WARREN_ADDON says, or ''. */
export function candidates(root: string, named: string): string[] {
  if (named !== '') return [named];
  return [
    join(root, 'build', 'Release', 'warren.node'),
    join(root, 'prebuilds', `linux-${process.arch}-${libc()}`, 'warren.node'),
  ];
}

/** Loads the first of `paths` that is there. */
export function load(paths: readonly string[]): AddonResult {
  if (process.platform !== 'linux') {
    return { ok: false, message: `the data plane runs on Linux only, and this is ${process.platform}` };
  }
  const path = paths.find((candidate) => existsSync(candidate));
  if (path === undefined) {
    return {
      ok: false,
      message: `the native addon is not built: run "npm run build:native" (looked for ${paths.join(' and ')})`,
    };
  }
  try {
    // Not through require, which takes a file without the right ending for a script.
    const module = { exports: {} };
    process.dlopen(module, path);
    const addon = module.exports as NativeAddon;
    const fault = addon.selfTest();
    if (fault !== null) return { ok: false, message: `the native addon is not fit for use: ${fault}` };
    return { ok: true, addon, path };
  } catch (error) {
    return { ok: false, message: explainLoad(path, error instanceof Error ? error.message : String(error)) };
  }
}

/**
 * Which C library this Node uses; an addon must use the same. Not asked of `process.report`: that looks up the names of all sockets
 * of the process, and where no name server answers it stands still for seconds.
 */
export function libc(): 'glibc' | 'musl' {
  try {
    return readFileSync('/proc/self/maps', 'utf8').includes('/ld-musl-') ? 'musl' : 'glibc';
  } catch {
    // Without /proc; the linker says so when it is the other one.
    return 'glibc';
  }
}

/** What to do about the dynamic linker's `reason`. */
export function explainLoad(path: string, reason: string): string {
  const rebuild = 'run "npm run build:native" on this machine';
  if (/libc\.musl|ld-musl|libc\.so\.6: cannot open|ld-linux/.test(reason)) {
    return `${path} is for another C library than this Node (${libc()}): ${rebuild} (${reason})`;
  }
  if (/GLIBC_|GLIBCXX_|CXXABI_/.test(reason)) {
    return `${path} was built on a newer system than this one: ${rebuild} (${reason})`;
  }
  if (
    /ELF class|ELF header|file too short|cannot dynamically load|did not self-register|cannot open shared object file: No such file/.test(
      reason,
    )
  ) {
    return `${path} is not an addon for linux-${process.arch}: ${rebuild} (${reason})`;
  }
  if (/undefined symbol: (napi|node_api)/.test(reason)) {
    return `${path} needs a newer Node than ${process.version}: Node 20.19 or later (${reason})`;
  }
  if (/failed to map segment|Operation not permitted/.test(reason)) {
    return `${path} is on a file system that may not be executed from (noexec): move the installation (${reason})`;
  }
  return `${path} cannot be loaded: ${reason}`;
}
