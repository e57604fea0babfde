// Whether two places permit a direct path, reasoned from what their boxes do (RFC 4787 §4 and §5), not played: the oracle for
// the simulator's NATs and for the lab's real ones. What both ends are taken to do is what ICE does (RFC 8445): each learns its
// reflexive endpoint from a third party, tells the other, sends to the other's, and answers to wherever a datagram came from.
// Leaves out loss, time, and ports that are taken already.

import type { Family } from '../../base/ip.ts';
import type { Boxes, NatBehaviour, Place } from './kinds.ts';

/** How the two places lie to one another. */
export interface Neighbourhood {
  /** Both hosts are on one network: nothing is between them. */
  readonly sameNetwork?: boolean;
  /** How many boxes, counted from the internet, are the very same for both (a carrier's NAT). */
  readonly sharedBoxes?: number;
}

export type Obstacle =
  | 'noCommonFamily'
  /** UDP gets out of one of the places at no address that the other has. */
  | 'udpBlocked'
  /** Both are behind the same NAT, which lets nobody in from inside. */
  | 'noHairpin'
  /** A mapping is another for every destination, and the other end lets in only what it knows. */
  | 'mappingVaries';

/**
 * What finds the unknown endpoint all the same: the ports after the last one seen (RFC 5128 §3.4), or many guesses against
 * many mappings. null: no number of guesses that is decent.
 */
export type Prediction = 'sequential' | 'birthday' | null;

export type Verdict =
  | { readonly path: 'direct'; readonly family: Family }
  | { readonly path: 'relay'; readonly obstacle: Obstacle; readonly prediction: Prediction };

/** The one rule for all pairs. Symmetric in `a` and `b`. */
export function permits(a: Place, b: Place, near: Neighbourhood = {}): Verdict {
  const verdicts = [familyPermits(6, a.ipv6, b.ipv6, near), familyPermits(4, a.ipv4, b.ipv4, near)];
  const direct = verdicts.find((verdict) => verdict.path === 'direct');
  if (direct !== undefined) return direct;
  // What stands in the way is told of the family that came nearer.
  return verdicts.reduce((nearest, verdict) => (nearness(verdict) > nearness(nearest) ? verdict : nearest));
}

function nearness(verdict: Verdict): number {
  if (verdict.path === 'direct') return 5;
  if (verdict.obstacle === 'noCommonFamily') return 0;
  if (verdict.obstacle === 'udpBlocked') return 1;
  return verdict.prediction === null ? 2 : 3;
}

function familyPermits(family: Family, a: Boxes | null, b: Boxes | null, near: Neighbourhood): Verdict {
  if (a === null || b === null) return relay('noCommonFamily');
  if (near.sameNetwork === true) return { path: 'direct', family };
  const turn = turnOf(a, near.sharedBoxes ?? 0);
  if (turn.box !== undefined && !turn.box.hairpin) return relay('noHairpin');
  const passedA = a.slice(0, a.length - turn.beyond);
  const passedB = b.slice(0, b.length - turn.beyond);
  if (![...passedA, ...passedB].every((box) => box.udp)) return relay('udpBlocked');
  const ends: readonly [End, End] = [endOf(passedA), endOf(passedB)];
  if (opens(ends[0], ends[1]) || opens(ends[1], ends[0])) return { path: 'direct', family };
  return relay('mappingVaries', predictionFor(ends[0], ends[1]));
}

function relay(obstacle: Obstacle, prediction: Prediction = null): Verdict {
  return { path: 'relay', obstacle, prediction };
}

/**
 * Where datagrams between two that share boxes turn round: at the outermost shared one that translates, because the reflexive
 * addresses are its; when none does, before they come to one. `beyond`: how many boxes further out they never see.
 */
function turnOf(boxes: Boxes, shared: number): { readonly box: NatBehaviour | undefined; readonly beyond: number } {
  const common = boxes.slice(boxes.length - shared);
  const at = common.findLastIndex((box) => box.translates);
  return { box: common[at], beyond: shared - 1 - at };
}

/** One end as the other sees it. */
interface End {
  /** Per box, nearest first: its filter, and whether the mapping there is one for all destinations. */
  readonly filters: readonly { readonly filtering: NatBehaviour['filtering']; readonly stable: boolean }[];
  /** The reflexive endpoint is also the one from which the other end will be sent to. */
  readonly stable: boolean;
  /** Not stable, but the next endpoint follows from the last. */
  readonly sequential: boolean;
}

function endOf(boxes: Boxes): End {
  let stable = true;
  let sequential = true;
  const filters = boxes.map((box, i): End['filters'][number] => {
    // A host asks the gateway that it knows, and no box further out.
    const open = i === 0 && box.translates && box.mapsPorts;
    if (box.translates && !open) {
      // Ports that are kept are the same for all destinations, whatever the mapping is said to depend on.
      stable &&= box.mapping === 'independent' || box.portAllocation === 'preserve';
      // What varies further inside arrives here as a new internal endpoint and is allocated a port of its own.
      if (!stable) sequential &&= box.portAllocation !== 'random';
    }
    return { filtering: open ? 'independent' : box.filtering, stable };
  });
  return { filters, stable, sequential: !stable && sequential };
}

/**
 * Whether `from`'s datagram to the reflexive endpoint of `to` gets in, and the answer to it back.
 *
 * In: a mapping that is the same for all destinations has been used towards `from`'s reflexive endpoint as well: it lets in
 * that address, and that port when `from` really sends from it. Any other has only been used towards the third party.
 * Back: the answer comes from `to`'s address, and from the very endpoint that was sent to when `to`'s is stable.
 */
function opens(from: End, to: End): boolean {
  const letsIn = to.filters.every(({ filtering, stable }) => {
    if (filtering === 'independent') return true;
    return stable && (filtering === 'address' || from.stable);
  });
  return letsIn && (to.stable || from.filters.every(({ filtering }) => filtering !== 'addressAndPort'));
}

function predictionFor(a: End, b: End): Prediction {
  const varying = [a, b].filter((end) => !end.stable);
  if (varying.every((end) => end.sequential)) return 'sequential';
  return varying.length === 1 ? 'birthday' : null;
}
