// The demo's internet: a namespace that routes 203.0.113.0/24 (a block for documentation, RFC 5737), with machines on public addresses
// and home routers on it, whose NAT is nftables' own masquerading. IPv4 alone, since IPv6 needs no NAT. A way between two sites can
// be cut and mended, and what passes on it is counted. Who makes and removes namespaces is mesh-world.mjs.

import { must } from './stage.mjs';

const BLOCK = '203.0.113';
const INTERNET = `${BLOCK}.1`;

/** RFC 4787 §4.1: what the port that others see depends on. */
export const NATS = {
  /** A router at home as most are: one port for all destinations; what was not asked for is dropped. */
  keepsPort: { masquerade: 'masquerade', mapping: 'independent' },
  /** Of large networks: another port for each destination. */
  variesPort: { masquerade: 'masquerade random,fully-random', mapping: 'varies' },
};

const routerRules = (masquerade) => `
table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan" ${masquerade}
  }
}
table ip filter {
  chain input {
    type filter hook input priority filter;
    iifname "wan" ct state established,related accept
    iifname "wan" drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname "lan" accept
    ct state established,related accept
  }
}`;

const chain = (table, ...lines) => `table ip ${table} {\n  chain forward {\n${lines.join('\n')}\n  }\n}\n`;

const between = ([a, b]) => `ip saddr { ${a.address}, ${b.address} } ip daddr { ${a.address}, ${b.address} }`;

export class Internet {
  #makeNamespace;
  #netns;
  #cuts = 0;

  /** `makeNamespace(name)`: its full name. */
  constructor(makeNamespace) {
    this.#makeNamespace = makeNamespace;
    this.#netns = makeNamespace('internet');
    inside(this.#netns, ['ip', 'address', 'add', `${INTERNET}/32`, 'dev', 'lo']);
    inside(this.#netns, ['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    nft(this.#netns, chain('ways', 'type filter hook forward priority filter;'));
  }

  /** A router with one public address and a network behind it; `lan`: the first three bytes of its addresses. */
  addRouter(name, host, lan, nat) {
    const netns = this.#makeNamespace(name);
    const router = { name, netns, lan, address: `${BLOCK}.${host}`, nat };
    this.#connect(router, 'wan');
    inside(netns, ['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    inside(netns, ['ip', 'link', 'add', 'lan', 'type', 'bridge']);
    inside(netns, ['ip', 'address', 'add', `${lan}.1/24`, 'dev', 'lan']);
    inside(netns, ['ip', 'link', 'set', 'lan', 'up']);
    nft(netns, routerRules(nat.masquerade));
    return router;
  }

  /** `machine`: { name, netns }. It is given its address, which others on the internet may send to. */
  addPublic(machine, host) {
    machine.address = `${BLOCK}.${host}`;
    this.#connect(machine, 'eth0');
  }

  /** It is given an address of the router's network. */
  addBehind(router, machine, host) {
    machine.address = `${router.lan}.${host}`;
    const port = `to-${machine.name}`;
    inside(router.netns, ['ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', machine.netns]);
    inside(router.netns, ['ip', 'link', 'set', port, 'master', 'lan', 'up']);
    inside(machine.netns, ['ip', 'address', 'add', `${machine.address}/24`, 'dev', 'eth0']);
    inside(machine.netns, ['ip', 'link', 'set', 'eth0', 'up']);
    inside(machine.netns, ['ip', 'route', 'add', 'default', 'via', `${router.lan}.1`]);
  }

  /** From now on; `read()`: packets between the two sites that left the internet or were dropped on it. */
  count(a, b) {
    const counter = `between_${a.name}_${b.name}`;
    nft(
      this.#netns,
      `add counter ip ways ${counter}\nadd rule ip ways forward ${between([a, b])} counter name ${counter}`,
    );
    const list = ['nft', 'list', 'counter', 'ip', 'ways', counter];
    return { read: () => Number(/packets (\d+)/.exec(inside(this.#netns, list))?.[1]) };
  }

  /** Nothing passes between the two sites, and nobody is told, until the function that it returns is called. */
  cut(a, b) {
    const table = `cut${++this.#cuts}`;
    nft(this.#netns, chain(table, 'type filter hook forward priority -10;', `${between([a, b])} drop`));
    return () => nft(this.#netns, `delete table ip ${table}`);
  }

  #connect(site, device) {
    const { netns, name, address } = site;
    const port = `to-${name}`;
    inside(this.#netns, ['ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', device, 'netns', netns]);
    inside(this.#netns, ['ip', 'link', 'set', port, 'up']);
    inside(this.#netns, ['ip', 'route', 'add', `${address}/32`, 'dev', port]);
    inside(netns, ['ip', 'address', 'add', `${address}/32`, 'dev', device]);
    inside(netns, ['ip', 'link', 'set', device, 'up']);
    inside(netns, ['ip', 'route', 'add', INTERNET, 'dev', device]);
    inside(netns, ['ip', 'route', 'add', 'default', 'via', INTERNET]);
  }
}

function inside(netns, command, options = {}) {
  return must(['ip', 'netns', 'exec', netns, ...command], options);
}

function nft(netns, rules) {
  inside(netns, ['nft', '-f', '-'], { input: rules });
}
