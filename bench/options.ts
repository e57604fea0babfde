// The bench's command line: `npm run bench -- --help`. Durations are per engine and round; what does not parse is
// answered with a sentence and the usage, never with a default.

import type { Implementation } from '../test/interop/lib/engines.ts';

export interface BenchOptions {
  readonly rounds: number;
  readonly tcpSeconds: number;
  readonly udpSeconds: number;
  readonly pings: number;
  readonly mtu: number;
  readonly json: boolean;
  readonly subject: Implementation;
  readonly peers: readonly Implementation[];
}

export const USAGE = `usage: npm run bench -- [options]

  --rounds N        rounds, each of which measures every engine once (default 5)
  --quick           two rounds of short runs: a look, not a result
  --subject NAME    the engine under test (default warren)
  --peers A,B       what it is compared with (default wireguard-go-latest, which is Debian's where there is no Go)
  --mtu N           MTU of the tunnel (default 1420); the cable carries 80 bytes more
  --json            the figures as JSON on standard output, progress on standard error
  --help

engines: warren, wireguard-go (Debian's), wireguard-go-latest (from the Go module proxy)
An engine against itself (--subject wireguard-go --peers wireguard-go) shows how far the ratios of this machine err.
`;

const ENGINES: readonly Implementation[] = ['warren', 'wireguard-go', 'wireguard-go-latest'];

function engine(name: string): Implementation {
  const found = ENGINES.find((candidate) => candidate === name);
  if (found === undefined) throw new Error(`no such engine: ${name} (there are: ${ENGINES.join(', ')})`);
  return found;
}

function integer(name: string, text: string, low: number, high: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high)
    throw new Error(`${name} must be ${low} … ${high}, not ${text}`);
  return value;
}

/** Null when help was asked for; throws with a message for a person when the arguments are wrong. */
export function parseOptions(args: readonly string[]): BenchOptions | null {
  let rounds: number | null = null;
  let quick = false;
  let json = false;
  let mtu = 1420;
  let subject: Implementation = 'warren';
  let peers: readonly Implementation[] = ['wireguard-go-latest'];
  const rest = [...args];
  const value = (name: string): string => {
    const next = rest.shift();
    if (next === undefined) throw new Error(`${name} needs a value`);
    return next;
  };
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === '--help' || name === '-h') return null;
    if (name === '--quick') quick = true;
    else if (name === '--json') json = true;
    else if (name === '--rounds') rounds = integer(name, value(name), 1, 100);
    else if (name === '--mtu') mtu = integer(name, value(name), 1280, 9000);
    else if (name === '--subject') subject = engine(value(name));
    else if (name === '--peers') peers = value(name).split(',').map(engine);
    else throw new Error(`unknown option: ${name}`);
  }
  const durations = quick ? { tcpSeconds: 2, udpSeconds: 2, pings: 100 } : { tcpSeconds: 5, udpSeconds: 4, pings: 200 };
  return { rounds: rounds ?? (quick ? 2 : 5), ...durations, mtu, json, subject, peers };
}
