// `warren netcheck`: the network in front of this machine, asked afresh, and what would make it better. Leaves out single peers
// (`warren why`). The advice is for people; programs read the fields.

import type { NetcheckReport } from '../../protocol/path-report.ts';
import type { MeshNode } from './mesh-node.ts';
import { relaysOf } from './path-view.ts';

export async function netcheck(node: MeshNode): Promise<NetcheckReport> {
  const { whereabouts } = node;
  const { reflexive, mapping, udp, servers } = await whereabouts.stun.check();
  const facts = {
    udp,
    mapping,
    filtering: mapping === 'none' ? 'none' : 'unknown',
    reflexive: {
      ipv4: reflexive.find((endpoint) => !endpoint.startsWith('[')) ?? null,
      ipv6: reflexive.find((endpoint) => endpoint.startsWith('[')) ?? null,
    },
    interfaces: node.candidates.filter(({ kind }) => kind === 'host').map(({ kind, endpoint }) => ({ kind, endpoint })),
    stun: servers,
    relays: relaysOf(node),
    portMapping: (whereabouts.portMapper?.status() ?? []).map(
      ({ protocol, gateway, state, external, doubleNat, why }) => ({
        protocol,
        gateway,
        state: doubleNat ? 'doubleNat' : state,
        external,
        why,
      }),
    ),
  } satisfies Omit<NetcheckReport, 'advice'>;
  return { ...facts, advice: adviceOn(facts, node.connectionProblem === null) };
}

/** What would mend it, the weightiest first. */
export function adviceOn(facts: Omit<NetcheckReport, 'advice'>, connected: boolean): string[] {
  const { udp, mapping, stun, relays, portMapping } = facts;
  const advice: string[] = [];
  if (!connected) advice.push('the controller is not reached: see `warren status`');
  if (udp === 'blocked') {
    advice.push(
      'let UDP out of this network, at least to the controller and the relays: until then everything is relayed over TCP',
    );
  } else if (stun.length === 0) {
    advice.push(
      'the controller answers no STUN: let it (`warren controller --stun`), or nodes behind NATs find no direct path',
    );
  }
  const mapped = portMapping.some(({ state }) => state === 'mapped');
  if (mapping === 'varies' && !mapped) {
    advice.push(
      'switch on UPnP, NAT-PMP or PCP at the router, or forward the tunnel’s UDP port to this machine: most peers behind NATs are reached by relay alone',
    );
  }
  if (portMapping.some(({ state }) => state === 'doubleNat')) {
    advice.push('the router is itself behind a NAT (a carrier’s, or a second router): its port mapping is of no use');
  }
  if (!relays.some(({ state }) => state === 'established')) {
    advice.push('no relay is reached: run one with `warren relay`, or let UDP through to the controller’s (port 7370)');
  }
  return advice;
}
