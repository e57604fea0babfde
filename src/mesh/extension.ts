// The mesh's part in the engine: what the engine says of its peers goes to whichever part it concerns. No rules of its own; the hooks of
// where peers are make the engine one whose peers do not roam.

import { earliest } from '../base/instant.ts';
import { formatAddress, formatEndpoint } from '../base/ip.ts';
import type { EngineExtension } from '../wireguard/extension.ts';
import type { Peer } from '../wireguard/peer.ts';
import { reschedule } from './mesh-context.ts';
import { type MeshPeer, meetingOf } from './mesh-peer.ts';
import type { MeshParts } from './parts.ts';

/** As Linux numbers it. */
const EMSGSIZE = 90;

/** `parts`: made after the engine, and before it is used. */
export function meshExtension(parts: () => MeshParts): EngineExtension {
  const withMesh = (peer: Peer, act: (mesh: MeshPeer, parts: MeshParts) => void): void => {
    const made = parts();
    const mesh = made.roster.of(peer);
    if (mesh !== undefined) act(mesh, made);
  };
  return {
    initiationSent: (peer, message, now) => {
      const mesh = parts().roster.of(peer);
      return mesh !== undefined && parts().meeting.initiationSent(mesh, peer, message, now);
    },
    attemptGivenUp: (peer, now) =>
      withMesh(peer, (mesh, { pings }) => {
        meetingOf(mesh, now).gaveUp = true;
        pings.dropWaiting(mesh);
      }),
    sessionWorks: (peer, now) =>
      withMesh(peer, (mesh, { context, paths, pings, relays }) => {
        if (mesh.meeting !== null) mesh.meeting.gaveUp = false;
        paths.sessionWorks(mesh, peer, now);
        pings.sessionWorks(mesh, peer, now);
        if (mesh.isRelay) relays.sessionWorks(mesh, now);
        context.outputs.changed();
      }),
    endpoints: {
      handshakeFrom: (peer, source, now) =>
        withMesh(peer, (mesh, { context, paths }) => {
          paths.handshakeFrom(mesh, peer, source, now);
          context.outputs.changed();
        }),
      sendResponse: (peer, response, source, now) => {
        const mesh = parts().roster.of(peer);
        return mesh !== undefined && parts().meeting.sendResponse(mesh, peer, response, source, now);
      },
      packetFrom: (peer, source, now) => withMesh(peer, (mesh, { paths }) => paths.packetFrom(mesh, source, now)),
      answerAwaited: (peer, now) => withMesh(peer, (mesh, { paths }) => paths.answerAwaited(mesh, now)),
      sendFailed: (peer, errno, now) => {
        if (errno === EMSGSIZE) withMesh(peer, (mesh, { paths }) => paths.tooBig(mesh, now));
      },
    },
    peerChanged: (peer) =>
      withMesh(peer, (mesh, { context, meeting, paths, relays }) => {
        meeting.peerChanged(mesh, peer);
        paths.peerChanged(mesh, peer);
        if (peer.session === null && mesh.isRelay) relays.sessionOver(mesh, context.now());
        else if (peer.session === null && peer.attempt === null) relays.idle(mesh, context.now());
        context.outputs.changed();
      }),
    frame: (peer, frame, source, receivedAt) =>
      withMesh(peer, (mesh, { pings }) => pings.handleFrame(mesh, peer, frame, source, receivedAt)),
    stun: (datagram, { address, port }, receivedAt) => {
      parts().context.outputs.stun?.(datagram, formatEndpoint(formatAddress(address), port), receivedAt);
    },
    nextDeadline: () => earliest(parts().context.deadlines.next(), parts().relays.deadline),
    expire: (now) => {
      const { context, meeting, paths, relays } = parts();
      const { deadlines } = context;
      for (let mesh = deadlines.due(now); mesh !== undefined; mesh = deadlines.due(now)) {
        meeting.expire(mesh, now);
        paths.expire(mesh, now);
        reschedule(context, mesh);
      }
      relays.handleDeadline(now);
    },
  };
}
