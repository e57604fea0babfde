// The parts of the mesh engine put together: who tells whom. The rules are in the parts; what is here is wires alone, and the order in
// which they are joined.

import type { Endpoint } from '../base/ip.ts';
import { relayedParts } from '../base/relayed.ts';
import { Meeting } from './meeting.ts';
import { drawTxid, type MeshContext } from './mesh-context.ts';
import type { MeshPeer } from './mesh-peer.ts';
import { Paths } from './paths.ts';
import { Pings } from './pings.ts';
import { type RelayActions, Relays } from './relays.ts';
import { Roster } from './roster.ts';

export interface MeshParts {
  readonly context: MeshContext;
  readonly meeting: Meeting;
  readonly paths: Paths;
  readonly pings: Pings;
  readonly relays: Relays;
  readonly roster: Roster;
}

export function makeParts(context: MeshContext, peersMax: number): MeshParts {
  const paths: Paths = new Paths(context, {
    relayed: (mesh, wanted, now) => (mesh.isRelay ? [] : relays.endpointsOf(mesh, wanted, now)),
    begin: (mesh, peer, now) => meeting.beginWide(mesh, peer, now),
    moved: (mesh, endpoint) => {
      if (mesh.isRelay) relays.moved(mesh, endpoint);
    },
    answered: (mesh, now) => {
      if (mesh.isRelay) relays.answered(mesh, now);
    },
    doubted: (mesh, endpoint, now) => {
      const relayed = relayedParts(endpoint);
      if (relayed !== null) relays.doubted(relayed.relay, now);
      else if (!mesh.isRelay) relays.standBy(mesh, now);
    },
    initiated: (endpoint, now) => {
      const relayed = relayedParts(endpoint);
      if (relayed !== null) relays.used(relayed.relay, now);
    },
    lost: (mesh, now) => {
      if (mesh.isRelay) relays.silent(mesh, now);
    },
  });
  const meeting = new Meeting(context, paths);
  const pings = new Pings(context, paths);
  const roster: Roster = new Roster(context, { meeting, paths, pings }, peersMax);
  const relays: Relays = new Relays(relayActions(context, paths, meeting, () => roster.all()));
  pings.relays = relays;
  roster.relays = relays;
  return { context, meeting, paths, pings, relays, roster };
}

function relayActions(
  context: MeshContext,
  paths: Paths,
  meeting: Meeting,
  all: () => Iterable<MeshPeer>,
): RelayActions {
  const { engine, plane, counters, outputs } = context;
  return {
    begin: (relay, now) => {
      if (relay.peer !== null) meeting.beginWide(relay, relay.peer, now);
    },
    check: (relay, now) => paths.check(relay, now),
    keepalive: ({ peer }, seconds, now) => {
      if (peer === null) return;
      engine.setPersistentKeepalive(peer, seconds, now);
      engine.configured(peer, now);
    },
    end: ({ peer }, now) => {
      if (peer !== null) engine.flush(peer, now);
    },
    frame: ({ peer }, frame, now) => peer !== null && plane.sendFrame(peer.slot, frame, now),
    setRelay: (number, endpoint) => plane.setRelay(number, endpoint),
    changed: (mesh, arrived, now) => {
      paths.told(mesh, now);
      if (arrived && mesh.peer !== null && mesh.peer.attempt !== null) engine.hurry(mesh.peer, now);
    },
    forget: (number, now) => {
      for (const mesh of all()) {
        for (const endpoint of relayedOver(mesh, number)) paths.forget(mesh, endpoint, now);
      }
    },
    home: (home) => {
      context.home = home;
      outputs.home?.(home);
    },
    drawTxid: () => drawTxid(context),
    count: (what) => counters.count(what),
  };
}

function relayedOver(mesh: MeshPeer, number: number): Endpoint[] {
  const endpoints = mesh.paths?.set.all().map(({ endpoint }) => endpoint) ?? [];
  return endpoints.filter((endpoint) => relayedParts(endpoint)?.relay === number);
}
