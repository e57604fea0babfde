// The relay inside a controller's process, on by default so that a network has one from the first day. A member like any other: it comes over the
// loopback, with an auth key that the controller makes for it and nobody sees. The command line puts the two together; they know nothing
// of one another but what stands here. A relay that cannot run takes nothing from the controller.

import { lookup } from 'node:dns/promises';
import { join } from 'node:path';
import { type IpAddress, parseAddress } from '../base/ip.ts';
import { RELAY_TAG } from '../protocol/reach.ts';
import type { Log } from '../service/log.ts';
import { isLoopback } from '../service/remote-address.ts';
import { startFailureOf } from '../service/start-error.ts';
import type { UpgradeDoor } from '../service/upgrade-door.ts';
import { LIMITS_DEFAULT } from './engine/relay-engine.ts';
import { type PublicAddress, parsePublicAddress } from './relay-addresses.ts';
import { RelayHost } from './relay-host.ts';
import { createRelayMetrics } from './relay-metrics.ts';
import { createRelayPlane } from './relay-plane.ts';
import { StreamServer } from './stream/stream-server.ts';

export interface InnerRelaySettings {
  /** The controller's; the relay's own is inside. */
  readonly dataDirectory: string;
  readonly port: number;
  /** Null: what the controller's URL says. */
  readonly publicAddress: PublicAddress | null;
  readonly version: string;
}

/** What the controller gives whoever runs in its process. */
export interface ControllerInside {
  /** Where nodes reach it. */
  readonly url: string;
  /** Where this process reaches it, and its key as join links have it. */
  readonly loopback: { readonly url: string; readonly key: string };
  /** A link over the loopback for one machine with these tags, soon. */
  readonly joinLink: (tags: readonly string[]) => Promise<string>;
  readonly log: Log;
}

/** What the controller lets in through its port and its metrics, and ends with itself. */
export interface InnerRelay {
  readonly doors: readonly UpgradeDoor[];
  readonly port: number;
  metrics(): Promise<string>;
  stop(): Promise<void>;
}

const DIRECTORY = 'relay';
const HOSTNAME = 'relay';
const LOOKUP_MS = 3_000;
/** Whoever stops a controller waits for it. */
const DRAIN_MS = 5_000;

/** For the command line, which says what is wrong with its option. */
export function readPublicAddress(text: string): PublicAddress | null {
  return parsePublicAddress(text);
}

/** Null when it cannot run; the log says why. */
export async function startInnerRelay(
  settings: InnerRelaySettings,
  inside: ControllerInside,
): Promise<InnerRelay | null> {
  const { dataDirectory, port, publicAddress, version } = settings;
  const { log } = inside;
  try {
    const host = await RelayHost.start({
      settings: {
        stateDirectory: join(dataDirectory, DIRECTORY),
        port,
        joinLink: null,
        controller: inside.loopback,
        publicAddresses: publicAddress === null ? await addressesOf(inside.url) : [publicAddress],
        tellInterfaces: true,
        url: inside.url,
        hostname: HOSTNAME,
        limits: LIMITS_DEFAULT,
        version,
      },
      createPlane: createRelayPlane,
      log,
      renewLink: () => inside.joinLink([RELAY_TAG]),
    });
    return running(host);
  } catch (error) {
    const failure = startFailureOf(error);
    if (failure === null) throw error;
    log.error('the controller runs without a relay', {
      why: `${failure.what}: ${failure.why}`,
      help: 'choose another UDP port with --relay-port N, or go without with --no-relay',
    });
    return null;
  }
}

function running(host: RelayHost): InnerRelay {
  const streams = new StreamServer(host.port);
  const metrics = createRelayMetrics(host, streams, false);
  return {
    doors: [streams],
    port: host.port,
    metrics: () => metrics.text(),
    stop: async () => {
      await host.drain(DRAIN_MS);
      streams.close();
      await host.close();
    },
  };
}

/** What a name means now; a literal address means itself. The loopback is no way for others. */
async function addressesOf(url: string): Promise<PublicAddress[]> {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  const literal = parseAddress(host);
  const addresses = literal === null ? await resolved(host) : [literal];
  return addresses.filter((address) => !isLoopback(address)).map((address) => ({ address, port: null }));
}

async function resolved(name: string): Promise<IpAddress[]> {
  let timer: NodeJS.Timeout | null = null;
  const limit = new Promise<never[]>((resolve) => {
    timer = setTimeout(() => resolve([]), LOOKUP_MS);
  });
  const found = lookup(name, { all: true }).then(
    (entries) => entries.flatMap(({ address }) => parseAddress(address) ?? []),
    () => [],
  );
  const addresses = await Promise.race([found, limit]);
  if (timer !== null) clearTimeout(timer);
  return addresses;
}
