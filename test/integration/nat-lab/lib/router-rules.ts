// What the lab's internet does wrong, as a ruleset for nft: datagrams from one site to another that are lost, all or some, and
// messages of a too large packet that are swallowed. A pure function. Each site is known by the device that leads to it.

import { nest } from './gateway-rules.ts';

export interface Impairment {
  /** Devices of the router. */
  readonly from: string;
  readonly to: string;
  /** Of every hundred packets, at random. */
  readonly lossPercent: number;
  /** Only UDP, or everything. */
  readonly protocol: 'udp' | 'all';
}

/** `swallowedMtus`: what is too big for a link of this MTU is dropped without a word. */
export function routerRuleset(impairments: readonly Impairment[], swallowedMtus: readonly number[]): string {
  const lines = impairments.map(({ from, to, lossPercent, protocol }) => {
    const which = `iifname "${from}" oifname "${to}"${protocol === 'udp' ? ' meta l4proto udp' : ''}`;
    return `${which}${lossPercent >= 100 ? '' : ` numgen random mod 100 < ${lossPercent}`} counter drop`;
  });
  const own = swallowedMtus.flatMap((mtu) => [
    `icmp type destination-unreachable icmp code frag-needed icmp mtu ${mtu} drop`,
    `icmpv6 type packet-too-big icmpv6 mtu ${mtu} drop`,
  ]);
  return [
    'flush ruleset',
    nest('table inet internet', [
      'chain forward {',
      '  type filter hook forward priority filter;',
      ...lines.map((line) => `  ${line}`),
      '}',
      'chain own {',
      '  type filter hook output priority filter;',
      ...own.map((line) => `  ${line}`),
      '}',
    ]),
  ].join('\n');
}
