// Port mappings at a real gateway, miniupnpd, by each of its protocols: what is outside reaches the machine behind it, for as long as it
// is wanted and through restarts of the gateway; and a network on which somebody else plays the gateway.

import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { endpointParts } from '../../src/base/ip.ts';
import { PortmapDriver } from './lib/portmap-driver.ts';
import {
  type DaemonSettings,
  GATEWAY4,
  HAS_MINIUPNPD,
  NODE4,
  NODE6,
  OUTER4,
  OUTSIDE4,
  OUTSIDE6,
  PortmapLab,
} from './lib/portmap-lab.ts';
import { until } from './lib/wait.ts';

const STRANGER = fileURLToPath(new URL('./lib/portmap-stranger.mjs', import.meta.url));
const HOUR_MS = 3_600_000;

interface Case {
  readonly what: string;
  readonly protocol: 'pcp' | 'natpmp' | 'upnp';
  readonly settings: DaemonSettings;
}

const CASES: readonly Case[] = [
  { what: 'PCP, with all protocols on', protocol: 'pcp', settings: { natPmp: true, upnp: true } },
  { what: 'PCP, with UPnP off', protocol: 'pcp', settings: { natPmp: true, upnp: false } },
  { what: 'NAT-PMP', protocol: 'natpmp', settings: { natPmp: true, upnp: false } },
  { what: 'UPnP-IGD 2', protocol: 'upnp', settings: { natPmp: false, upnp: true } },
  {
    what: 'UPnP-IGD 1',
    protocol: 'upnp',
    settings: { natPmp: false, upnp: true, more: ['force_igd_desc_v1=yes'] },
  },
];

let lab: PortmapLab;
let drivers: PortmapDriver[] = [];

async function driver(port = 0, host = lab.node): Promise<PortmapDriver> {
  const made = await PortmapDriver.start(host, port);
  drivers.push(made);
  return made;
}

describe.skipIf(!HAS_MINIUPNPD)('a port behind miniupnpd', () => {
  beforeAll(async () => {
    lab = await PortmapLab.open('portmap');
  });

  afterEach(async () => {
    for (const one of drivers) await one.end();
    drivers = [];
    await lab.stopDaemon();
    await lab.gateway.must(['nft', 'flush', 'chain', 'inet', 'filter', 'mute']);
  });

  afterAll(async () => {
    await lab?.close();
  });

  async function arrives(d: PortmapDriver, to: string, from: string, text: string): Promise<void> {
    await lab.sendFromOutside(to, d.port, text);
    await until(`${text} arrives`, 5_000, async () =>
      (await d.call('received')).some((one) => one.text === text && one.from === from),
    );
  }

  /** Sent before something that does arrive by another way, so that its absence means something. */
  async function staysOut(d: PortmapDriver, to: string, text: string): Promise<void> {
    await lab.sendFromOutside(to, d.port, text);
    const code = `const [to, port] = process.argv.slice(1);
      const socket = require('node:dgram').createSocket('udp4');
      socket.send('mark', Number(port), to, () => socket.close());`;
    await lab.gateway.must([process.execPath, '-e', code, NODE4, `${d.port}`]);
    const seen: string[] = [];
    await until('the mark arrives', 5_000, async () => {
      seen.push(...(await d.call('received')).map((one) => one.text));
      return seen.includes('mark');
    });
    expect(seen).not.toContain(text);
  }

  describe.each(CASES)('by $what', ({ what, protocol, settings }) => {
    const prepare = async (): Promise<void> => {
      if (what === 'NAT-PMP') await lab.mute(2);
      await lab.startDaemon(settings);
    };

    it('is reached from outside from the mapping until the end, and the gateway keeps nothing', async () => {
      await prepare();
      const d = await driver();
      await staysOut(d, OUTER4, 'too early');
      await d.call('request');
      const mapping = await d.mapped(protocol);
      expect(mapping).toMatchObject({ endpoint: `${OUTER4}:${d.port}`, gateway: GATEWAY4 });
      expect(await lab.translations()).toEqual([`${d.port} → ${NODE4}:${d.port}`]);
      await arrives(d, OUTER4, OUTSIDE4, 'hello');
      expect(await d.call('stop')).toBeLessThan(1_000);
      expect(await lab.translations()).toEqual([]);
      await staysOut(d, OUTER4, 'too late');
    });

    it('is renewed', async () => {
      await prepare();
      const d = await driver();
      await d.call('request');
      const before = await d.mapped(protocol);
      await d.call('sleep', 1.5 * HOUR_MS);
      await until('the mapping lasts longer', 10_000, async () => {
        const { mappings, now } = await d.call('state');
        const [mapping] = mappings;
        return mapping !== undefined && mapping.expiresAt > before.expiresAt && mapping.expiresAt > now + 1.9 * HOUR_MS;
      });
      expect(await lab.translations()).toEqual([`${d.port} → ${NODE4}:${d.port}`]);
      await arrives(d, OUTER4, OUTSIDE4, 'still here');
    });

    it('is mapped again when the gateway was restarted', async () => {
      await prepare();
      const d = await driver();
      await d.call('request');
      await d.mapped(protocol);
      await d.settled();
      await lab.stopDaemon();
      expect(await lab.translations()).toEqual([]);
      await lab.startDaemon(settings);
      // UPnP tells nobody who is not always listening: it is seen at the renewal.
      if (protocol === 'upnp') await d.call('sleep', 1.5 * HOUR_MS);
      await until('the mapping is there again', 15_000, async () => (await lab.translations()).length === 1);
      await arrives(d, OUTER4, OUTSIDE4, 'again');
      expect((await d.mapped(protocol)).endpoint).toBe(`${OUTER4}:${d.port}`);
    });

    it('that another machine has outside gets another port', async () => {
      await prepare();
      const first = await driver(40_123, lab.other);
      await first.call('request');
      await first.mapped(protocol);
      const d = await driver(40_123);
      await d.call('request');
      const { endpoint } = await d.mapped(protocol);
      const { address, port } = endpointParts(endpoint);
      expect(address).toBe(OUTER4);
      expect(port).not.toBe(40_123);
      await lab.sendFromOutside(OUTER4, port, 'to the second');
      await until('it arrives', 5_000, async () =>
        (await d.call('received')).some((one) => one.text === 'to the second'),
      );
      await d.call('stop');
      expect(await lab.translations()).toEqual([`40123 → 192.168.77.3:40123`]);
    });
  });

  it('that the gateway does not give is refused in words', async () => {
    // By UPnP: to PCP and NAT-PMP it says nothing until it has tried, and told, all 65,535 ports.
    await lab.startDaemon({ natPmp: false, upnp: true, rules: [] });
    const d = await driver();
    await d.call('request');
    const status = (await d.settled()).find((one) => one.protocol === 'upnp');
    const why = 'its settings forbid mappings for this machine';
    expect(status).toMatchObject({ state: 'refused', external: null, why });
    expect(await lab.translations()).toEqual([]);
  });

  it('of IPv6 is opened in the firewall, and closed again', async () => {
    await lab.startDaemon({ natPmp: true, upnp: true });
    const d = await driver();
    await staysOut(d, NODE6, 'too early');
    await d.call('request');
    expect(await d.mapped('pcp', true)).toMatchObject({ endpoint: `[${NODE6}]:${d.port}` });
    await arrives(d, NODE6, OUTSIDE6, 'hello');
    await d.call('stop');
    expect(await lab.holes()).toBe(0);
    await staysOut(d, NODE6, 'too late');
  });

  it('is renewed by itself at half of a short life', async () => {
    await lab.startDaemon({ natPmp: true, upnp: false, more: ['max_lifetime=62'] });
    const d = await driver();
    await d.call('request');
    const before = await d.mapped('pcp');
    expect(before.expiresAt - (await d.call('state')).now).toBeLessThanOrEqual(62_000);
    const state = await until('it lasts longer', 45_000, async () => {
      const now = await d.call('state');
      return (now.mappings[0]?.expiresAt ?? 0) > before.expiresAt && now;
    });
    expect(before.expiresAt - state.now).toBeGreaterThan(15_000);
  });

  it('is mapped when a gateway that was not there comes up and says so', async () => {
    const d = await driver();
    await d.call('request');
    const status = await d.settled();
    expect(status.map(({ protocol, state, why }) => [protocol, state, why])).toEqual([
      ['pcp', 'unsupported', 'nothing listens on UDP port 5351 of the gateway'],
      ['natpmp', 'unsupported', 'nothing listens on UDP port 5351 of the gateway'],
      ['upnp', 'unsupported', 'no answer to the search for a UPnP gateway'],
    ]);
    // It is asked for announcements once a minute at most.
    await d.call('skip', 70_000);
    await lab.startDaemon({ natPmp: true, upnp: false });
    await d.mapped('pcp', false, 30_000);
  });

  it('is not mapped by a gateway that has no public address itself', async () => {
    await lab.gateway.must(['ip', 'address', 'replace', '100.64.0.1/24', 'dev', 'wan']);
    await lab.gateway.must(['ip', 'address', 'del', `${OUTER4}/24`, 'dev', 'wan']);
    try {
      await lab.startDaemon({ natPmp: true, upnp: true });
      const d = await driver();
      await d.call('request');
      const status = await d.settled();
      expect(status.map(({ state }) => state)).not.toContain('mapped');
      expect(status.every(({ why }) => why !== null)).toBe(true);
    } finally {
      await lab.gateway.addAddress('wan', `${OUTER4}/24`);
      await lab.gateway.deleteAddress('wan', '100.64.0.1/24');
    }
  });

  it('is not led astray by somebody who plays the gateway', async () => {
    // Answers searches with a place at itself, announces reboots, and answers for the gateway from its own address.
    const stranger = lab.other.start([process.execPath, STRANGER, GATEWAY4, NODE4]);
    let said = '';
    stranger.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    try {
      await until('the stranger is ready', 10_000, () => said.includes('ready'));
      const d = await driver();
      await d.call('request');
      const status = await d.settled();
      expect(status.map(({ state }) => state)).toEqual(['unsupported', 'unsupported', 'unsupported']);
      // Not even the place at the gateway is believed: it is not the gateway that named it.
      expect(status.at(-1)?.why).toBe('no answer to the search for a UPnP gateway');
      await until('its answers arrive', 5_000, async () => (await d.call('ignored')) > 0);
      expect(said).toContain('searched');
      expect(said).not.toContain('asked');
    } finally {
      stranger.kill('SIGKILL');
    }
  });
});
