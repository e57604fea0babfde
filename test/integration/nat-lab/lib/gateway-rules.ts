// What one gateway does to packets, as a ruleset for nft: any mapping, filtering and allocation of RFC 4787, made from what Linux has.
// A pure function; leaves out addresses, routes and timeouts of connection tracking.
//
// Linux by itself is a NAT with endpoint-independent mapping while the port can be kept, and with filtering by address and port:
// a tuple of connection tracking lets in its own replies only. `random` varies the port with every destination. The rest:
//
//   independent or address-dependent mapping of any port: the first datagram of an internal endpoint is given a port as it may be,
//     and `learn`, which sees it after translation, keeps what it was given in `bindings`; later destinations get that
//   endpoint-independent or address-dependent filtering: `learn` keeps who owns an external port in `owners`, and who was sent to
//     from there in `contacted`; what comes in for an owner is led there
//   sequential ports: a counter (numgen) over a map, because its number is in the byte order of the host
//
// The external address is on no interface: it is routed to the gateway, which routes it away again unless it translates it. So a
// datagram from inside to it leaves towards the internet, translated, and comes back as one of anybody's: hairpinning with all that
// mapping and filtering mean, and refused by one rule.

import type { Dependence, NatBehaviour } from '../../../../src/sim/nat/kinds.ts';

export const INNER_DEVICE = 'lan';
export const OUTER_DEVICE = 'wan';

/** More than a test uses up; at the end it begins anew. */
const SEQUENTIAL_PORTS = { first: 20_000, count: 4_096 } as const;
const LEARNT_MAX = 65_535;

export type Family = 'ip' | 'ip6';

export interface Ports {
  /** Instead of the internal port or of the usual first: what a gateway that was set up anew may choose. */
  readonly first: number;
  readonly last: number;
}

export interface GatewayRules {
  /** null: the gateway is a router and nothing else. */
  readonly ipv4: NatBehaviour | null;
  readonly ipv6: NatBehaviour | null;
  /** Translated to; the block is all that the internet routes here. */
  readonly external: { readonly address: string; readonly block: string };
  /** With `portAllocation: 'random'` they are other ones each time in any case. */
  readonly ports: Ports | null;
  readonly tcpPorts: 'any' | readonly number[];
  /** Nobody is told that a packet was too big. */
  readonly swallowsTooBig: boolean;
}

/** Replaces what was there, with all that it had learnt. */
export function gatewayRuleset(rules: GatewayRules): string {
  const anew = (family: Family): string[] => [`table ${family} box { }`, `delete table ${family} box`];
  return [...anew('ip'), table('ip', rules.ipv4, rules), ...anew('ip6'), table('ip6', rules.ipv6, rules)].join('\n');
}

/** Beside the ruleset of the box, which stays as it is. */
export function plugRuleset(inserted: boolean): string {
  const pulled = nest('table inet plug', [
    'chain pass {',
    '  type filter hook forward priority -200; policy drop;',
    '}',
  ]);
  return ['table inet plug { }', 'delete table inet plug', ...(inserted ? [] : [pulled])].join('\n');
}

function table(family: Family, box: NatBehaviour | null, rules: GatewayRules): string {
  if (box === null || !box.translates)
    return nest(`table ${family} box`, [...firewall(family, box, rules), ...own(family, rules)]);
  if (family === 'ip6') throw new Error('the lab does not translate IPv6');
  return nest('table ip box', [...translator(box, rules), ...own('ip', rules)]);
}

// — one that translates —

/** Of a source and a destination, what a mapping is the same for. */
const MAPPING_KEY: Readonly<Record<Dependence, string | null>> = {
  independent: 'ip saddr . udp sport',
  address: 'ip saddr . udp sport . ip daddr',
  // A tuple of connection tracking is that.
  addressAndPort: null,
};
/** The same, seen after the translation: `original` and `reply` as the flow began inside or outside. */
const ORIGINAL_KEY: Readonly<Record<Dependence, string>> = {
  independent: 'ct original ip saddr . ct original proto-src',
  address: 'ct original ip saddr . ct original proto-src . ip daddr',
  addressAndPort: '',
};
const REPLY_KEY: Readonly<Record<Dependence, string>> = {
  independent: 'ct reply ip saddr . ct reply proto-src',
  address: 'ct reply ip saddr . ct reply proto-src . ip daddr',
  addressAndPort: '',
};

function translator(box: NatBehaviour, rules: GatewayRules): string[] {
  const { address } = rules.external;
  const key = MAPPING_KEY[box.mapping];
  const udpOut = `oifname "${OUTER_DEVICE}" meta l4proto udp`;
  const expires = `flags timeout; timeout ${box.mappingTimeoutMs}ms; size ${LEARNT_MAX};`;
  const learnt: string[] = [];
  const learn: string[] = [];
  if (key !== null) {
    learnt.push(`map bindings { typeof ${key} : ip saddr . udp sport; ${expires} }`);
    learn.push(
      `${udpOut} ct direction original update @bindings { ${ORIGINAL_KEY[box.mapping]} : ip saddr . udp sport }`,
      `${udpOut} ct direction reply update @bindings { ${REPLY_KEY[box.mapping]} : ip saddr . udp sport }`,
    );
  }
  const incoming: string[] = [];
  if (box.filtering !== 'addressAndPort') {
    learnt.push(`map owners { typeof udp sport : ip saddr . udp sport; ${expires} }`);
    learn.push(
      `${udpOut} ct direction original update @owners { udp sport : ${ORIGINAL_KEY.independent} }`,
      `${udpOut} ct direction reply update @owners { udp sport : ${REPLY_KEY.independent} }`,
    );
    const known = box.filtering === 'address' ? 'udp dport . ip saddr @contacted ' : '';
    incoming.push(
      `iifname "${OUTER_DEVICE}" ip daddr ${address} meta l4proto udp ${known}dnat ip to udp dport map @owners`,
    );
  }
  if (box.filtering === 'address') {
    learnt.push(`set contacted { typeof udp sport . ip daddr; ${expires} }`);
    learn.push(`${udpOut} update @contacted { udp sport . ip daddr }`);
  }
  return [
    ...learnt,
    ...nestLines('chain incoming', ['type nat hook prerouting priority dstnat;', ...incoming]),
    ...nestLines('chain outgoing', [
      'type nat hook postrouting priority srcnat;',
      ...(key === null ? [] : [`${udpOut} snat ip to ${key} map @bindings`]),
      `${udpOut} ${allocation(box, rules)}`,
      `oifname "${OUTER_DEVICE}" snat ip to ${address}`,
    ]),
    // After srcnat, so that it sees what came of it.
    ...nestLines('chain learn', ['type filter hook postrouting priority 200;', ...learn]),
    ...nestLines('chain pass', [
      'type filter hook forward priority filter; policy drop;',
      ...beforeAnything('ip', box, rules),
      ...(box.hairpin ? [] : [`iifname != "${OUTER_DEVICE}" ip daddr ${rules.external.block} drop`]),
      `iifname != "${OUTER_DEVICE}" accept`,
      `iifname "${OUTER_DEVICE}" oifname != "${OUTER_DEVICE}" ct state established,related accept`,
      `iifname "${OUTER_DEVICE}" oifname != "${OUTER_DEVICE}" ct status dnat accept`,
    ]),
  ];
}

function allocation(box: NatBehaviour, { external, ports }: GatewayRules): string {
  switch (box.portAllocation) {
    case 'preserve':
      return `snat ip to ${external.address}${ports === null ? '' : `:${ports.first}-${ports.last}`}`;
    case 'random':
      return `snat ip to ${external.address} fully-random`;
    case 'sequential': {
      const { count } = SEQUENTIAL_PORTS;
      const first = ports?.first ?? SEQUENTIAL_PORTS.first;
      const entries = Array.from({ length: count }, (_, i) => `${i} : ${first + i}`).join(', ');
      return `snat ip to ${external.address} : numgen inc mod ${count} map { ${entries} }`;
    }
  }
}

// — one that does not —

function firewall(family: Family, box: NatBehaviour | null, rules: GatewayRules): string[] {
  const filtering = box?.filtering ?? 'independent';
  const tracked = filtering === 'address';
  const contact = `${family} saddr . udp sport . ${family} daddr`;
  const timeoutMs = box?.mappingTimeoutMs ?? 0;
  const outward = `iifname != "${OUTER_DEVICE}"`;
  return [
    ...(tracked
      ? [`set contacted { typeof ${contact}; flags timeout; timeout ${timeoutMs}ms; size ${LEARNT_MAX}; }`]
      : []),
    ...nestLines('chain pass', [
      'type filter hook forward priority filter; policy drop;',
      ...beforeAnything(family, box, rules),
      ...(tracked ? [`${outward} meta l4proto udp update @contacted { ${contact} }`] : []),
      `${outward} accept`,
      ...(box === null ? ['accept'] : ['ct state established,related accept']),
      ...(filtering === 'independent' ? ['meta l4proto udp accept'] : []),
      ...(tracked ? [`${family} daddr . udp dport . ${family} saddr @contacted accept`] : []),
    ]),
  ];
}

// — both —

/** What the gateway says by itself. */
function own(family: Family, rules: GatewayRules): string[] {
  if (!rules.swallowsTooBig) return [];
  return nestLines('chain own', ['type filter hook output priority filter;', tooBig(family)]);
}

function beforeAnything(family: Family, box: NatBehaviour | null, rules: GatewayRules): string[] {
  const lines: string[] = [];
  if (rules.swallowsTooBig) lines.push(tooBig(family));
  if (box !== null && !box.udp) lines.push('meta l4proto udp drop');
  if (rules.tcpPorts !== 'any') {
    lines.push(`iifname != "${OUTER_DEVICE}" tcp dport != { ${rules.tcpPorts.join(', ')} } drop`);
  }
  return lines;
}

export function tooBig(family: Family): string {
  return family === 'ip'
    ? 'icmp type destination-unreachable icmp code frag-needed drop'
    : 'icmpv6 type packet-too-big drop';
}

function nestLines(head: string, lines: readonly string[]): string[] {
  return [`${head} {`, ...lines.map((line) => `  ${line}`), '}'];
}

export function nest(head: string, lines: readonly string[]): string {
  return nestLines(head, lines).join('\n');
}
