// What a relay carries: TCP and UDP between two daemons that meet by it alone, and datagrams of clients that do nothing else, beside the same
// by Tailscale's relay in the same run. CPU time is of the relay's process alone.

import { iperf3, ping } from '../../test/interop/lib/measure.ts';
import { until } from '../../test/interop/lib/wait.ts';
import { percentile } from '../statistics.ts';
import { compileC } from './compiled.ts';
import { type Figure, figure, inRounds, type Outcome, type SectionResult } from './figures.ts';
import {
  type Carrier,
  DERP_PORT,
  relayCpuSeconds,
  relayMegabytes,
  startDerper,
  startTailscale,
  startWarren,
  WARREN_PORT,
  type WarrenCarrier,
} from './relay-carrier.ts';
import { ADDRESSES, openRelayPlace, type RelayPlace } from './relay-place.ts';
import type { Bench } from './section.ts';
import { type TailscalePrograms, tailscalePrograms } from './tailscale.ts';

const SECONDS = 5;
const QUICK_SECONDS = 2;
/** What is well within what both carry: what is lost of it was not lost for want of speed. */
const UDP_BITS_PER_SECOND = 100e6;
const UDP_PAYLOAD = 1_200;
/** WireGuard messages of a packet of 64 bytes, and of the largest of an MTU of 1,420. */
const MESSAGES = { small: 96, large: 1_452 } as const;
/** Of large messages that daemons hand to the kernel as one. */
const LARGE_RUN = 44;
const PINGS = 100;

interface Tcp {
  readonly gigabits: number;
  /** Of the relay, per GByte that arrived. */
  readonly cpu: number;
  readonly retransmits: number;
}

interface Datagrams {
  readonly packetsPerSecond: number;
  readonly gigabits: number;
  /** Of the relay: per million of small ones, per GByte of large ones. */
  readonly cpu: number;
}

interface Sample {
  readonly pingMs: number;
  readonly tcp1: Tcp;
  readonly tcp4: Tcp;
  readonly udpLostPercent: number;
  readonly relayMegabytes: number;
  readonly small: Datagrams;
  readonly large: Datagrams;
}

interface Round {
  readonly warren: Sample;
  readonly tailscale: Sample | null;
}

// — with daemons —

async function tcp(carrier: Carrier, streams: number, seconds: number): Promise<Tcp> {
  const { place, address } = carrier;
  const before = relayCpuSeconds(carrier);
  const result = await iperf3(place.a, place.b, address, { seconds, streams });
  return {
    gigabits: result.bitsPerSecond / 1e9,
    cpu: (relayCpuSeconds(carrier) - before) / (result.bytes / 1e9),
    retransmits: result.retransmits,
  };
}

async function withDaemons(carrier: Carrier, seconds: number): Promise<Omit<Sample, 'small' | 'large'>> {
  const { place, address } = carrier;
  // Once, so that nobody pays for first pages.
  await tcp(carrier, 1, 1);
  const echoes = await ping(place.a, address, { count: PINGS, intervalSeconds: 0.01 });
  const tcp1 = await tcp(carrier, 1, seconds);
  const tcp4 = await tcp(carrier, 4, seconds);
  const load = { seconds, udpBitsPerSecond: UDP_BITS_PER_SECOND, udpPayload: UDP_PAYLOAD };
  const { lostPackets, packets } = await iperf3(place.a, place.b, address, load);
  return {
    pingMs: percentile(echoes.rttMs, 0.5),
    tcp1,
    tcp4,
    udpLostPercent: (100 * lostPackets) / packets,
    relayMegabytes: relayMegabytes(carrier),
  };
}

// — without —

interface Counted {
  readonly packets: number;
  readonly seconds: number;
}

function datagrams(size: 'small' | 'large', packets: number, seconds: number, cpu: number): Datagrams {
  const bytes = packets * MESSAGES[size];
  return {
    packetsPerSecond: packets / seconds,
    gigabits: (bytes * 8) / seconds / 1e9,
    cpu: cpu / (size === 'small' ? packets / 1e6 : bytes / 1e9),
  };
}

/** In the place of the two daemons, which end. */
async function blast(carrier: WarrenCarrier, seconds: number): Promise<Pick<Sample, 'small' | 'large'>> {
  const { place, ports, machines, address } = carrier;
  const program = compileC('bench/paths/relay_blast.c');
  const slot = place.a.run([program, 'slot', `${WARREN_PORT}`], { timeoutMs: 30_000 });
  await ping(place.a, address, { count: 20 });
  const found = (await slot).stdout.trim();
  if (found === '') throw new Error('no relayed datagram was seen');
  for (const machine of machines) await machine.stop('SIGKILL');
  const one = async (size: 'small' | 'large', run: number): Promise<Datagrams> => {
    const message = `${MESSAGES[size]}`;
    const sink = place.b.start([program, 'receive', `${ports[1]}`, message]);
    let heard = '';
    sink.stdout?.setEncoding('utf8').on('data', (text: string) => {
      heard += text;
    });
    await until('the sink listens', 10_000, () => heard.includes('ready'));
    const before = relayCpuSeconds(carrier);
    const to = [ADDRESSES.relay, `${WARREN_PORT}`, `${ports[0]}`, found];
    await place.a.must([program, 'send', ...to, message, `${run}`, `${seconds}`], {
      timeoutMs: seconds * 1_000 + 15_000,
    });
    const cpu = relayCpuSeconds(carrier) - before;
    sink.kill('SIGTERM');
    await until('the sink tells what it got', 10_000, () => heard.includes('}\n'));
    const { packets } = JSON.parse(heard.slice(heard.indexOf('{'))) as Counted;
    if (packets === 0) throw new Error('the relay has forwarded nothing');
    // By the sender's clock: a queue that drains afterwards must not flatter.
    return datagrams(size, packets, seconds, cpu);
  };
  return { small: await one('small', 1), large: await one('large', LARGE_RUN) };
}

/** Two clients of the relay in one process. */
async function derpLoad(
  place: RelayPlace,
  programs: TailscalePrograms,
  seconds: number,
): Promise<Pick<Sample, 'small' | 'large'>> {
  const relayPid = await startDerper(place, programs);
  const carrier: Carrier = { label: 'derper', place, address: '', relayPid };
  const one = async (size: 'small' | 'large'): Promise<Datagrams> => {
    const before = relayCpuSeconds(carrier);
    const words = [ADDRESSES.relay, `${DERP_PORT}`, `${MESSAGES[size]}`, `${seconds}`];
    const text = await place.a.must([programs.peer, 'load', ...words], { timeoutMs: seconds * 1_000 + 30_000 });
    const { packets, seconds: passed, total } = JSON.parse(text) as Counted & { total: number };
    return datagrams(size, packets, passed, ((relayCpuSeconds(carrier) - before) * packets) / total);
  };
  return { small: await one('small'), large: await one('large') };
}

// — rounds —

async function warrenSample(debug: boolean, seconds: number): Promise<Sample> {
  const place = await openRelayPlace('pbrelay');
  try {
    const carrier = await startWarren(place, debug);
    return { ...(await withDaemons(carrier, seconds)), ...(await blast(carrier, seconds)) };
  } finally {
    await place.lab.close();
  }
}

async function tailscaleSample(programs: TailscalePrograms, seconds: number): Promise<Sample> {
  const place = await openRelayPlace('pbderp');
  let with_: Omit<Sample, 'small' | 'large'>;
  try {
    with_ = await withDaemons(await startTailscale(place, programs), seconds);
  } finally {
    await place.lab.close();
  }
  const alone = await openRelayPlace('pbderp');
  try {
    return { ...with_, ...(await derpLoad(alone, programs, seconds)) };
  } finally {
    await alone.lab.close();
  }
}

function showSample({ tcp1, tcp4, small, large, udpLostPercent, pingMs }: Sample): string {
  const of = ({ gigabits, cpu, retransmits }: Tcp): string =>
    `${gigabits.toFixed(2)} Gbit/s ${cpu.toFixed(2)} s/GByte ${retransmits} retransmitted`;
  const alone = `alone ${(small.packetsPerSecond / 1e3).toFixed(0)} kpps of 96, ${large.gigabits.toFixed(2)} Gbit/s of 1,452`;
  return `TCP ×1 ${of(tcp1)}; ×4 ${of(tcp4)}; UDP lost ${udpLostPercent.toFixed(2)} %; ping ${pingMs.toFixed(2)} ms; ${alone}`;
}

export async function relayLoad({ rounds, debug, quick, say }: Bench): Promise<SectionResult> {
  const seconds = quick ? QUICK_SECONDS : SECONDS;
  const programs = await tailscalePrograms(say);
  const outcomes = await inRounds<Round>(
    rounds,
    say,
    async (round) => {
      let tailscale: Sample | null = null;
      const other = async (): Promise<void> => {
        if (programs === null) return;
        tailscale = await tailscaleSample(programs, seconds).catch((error: unknown) => {
          say(`  tailscale failed: ${String(error)}\n`);
          return null;
        });
      };
      // Turned, so that none always comes first.
      if (round % 2 === 1) await other();
      const warren = await warrenSample(debug, seconds);
      if (round % 2 === 0) await other();
      return { warren, tailscale };
    },
    ({ warren, tailscale }) =>
      `warren ${showSample(warren)}${tailscale === null ? '' : `\n       tailscale ${showSample(tailscale)}`}`,
  );
  return {
    section: 'what a relay carries',
    notes: [
      'two daemons whose direct paths are blocked, links without delay; CPU of the relay process alone',
      'alone: clients that send messages through the relay with no tunnel, 96 bytes (a packet of 64 in WireGuard) and 1,452',
      programs === null
        ? 'Tailscale was left out'
        : "tailscale: its daemons and its relay over TLS, as it is always run; MTUs are each one's own (1,420 and 1,280)",
    ],
    figures: [
      ...figuresOf('warren', outcomes),
      ...(programs === null ? [] : figuresOf('tailscale', outcomes)),
      ...ratios(outcomes),
    ],
    rounds: outcomes,
  };
}

interface Metric {
  readonly what: string;
  readonly unit: string;
  readonly digits: number;
  readonly better: 'less' | 'more';
  readonly compared: boolean;
  readonly of: (sample: Sample) => number;
}

const METRICS: readonly Metric[] = [
  { what: 'TCP, 1 stream', unit: 'Gbit/s', digits: 2, better: 'more', compared: true, of: ({ tcp1 }) => tcp1.gigabits },
  {
    what: 'relay CPU, 1 stream',
    unit: 's/GByte',
    digits: 2,
    better: 'less',
    compared: true,
    of: ({ tcp1 }) => tcp1.cpu,
  },
  {
    what: 'retransmitted, 1 stream',
    unit: 'segments',
    digits: 0,
    better: 'less',
    compared: false,
    of: ({ tcp1 }) => tcp1.retransmits,
  },
  {
    what: 'TCP, 4 streams',
    unit: 'Gbit/s',
    digits: 2,
    better: 'more',
    compared: true,
    of: ({ tcp4 }) => tcp4.gigabits,
  },
  {
    what: 'relay CPU, 4 streams',
    unit: 's/GByte',
    digits: 2,
    better: 'less',
    compared: true,
    of: ({ tcp4 }) => tcp4.cpu,
  },
  {
    what: 'retransmitted, 4 streams',
    unit: 'segments',
    digits: 0,
    better: 'less',
    compared: false,
    of: ({ tcp4 }) => tcp4.retransmits,
  },
  {
    what: 'UDP of 100 Mbit/s, lost',
    unit: '%',
    digits: 3,
    better: 'less',
    compared: false,
    of: ({ udpLostPercent }) => udpLostPercent,
  },
  { what: 'ping, median', unit: 'ms', digits: 2, better: 'less', compared: false, of: ({ pingMs }) => pingMs },
  {
    what: 'relay memory after that',
    unit: 'MB',
    digits: 0,
    better: 'less',
    compared: false,
    of: ({ relayMegabytes: megabytes }) => megabytes,
  },
  {
    what: 'alone, 96 bytes',
    unit: 'kpps',
    digits: 0,
    better: 'more',
    compared: true,
    of: ({ small }) => small.packetsPerSecond / 1e3,
  },
  {
    what: 'alone, 96 bytes, relay CPU',
    unit: 's/Mpkt',
    digits: 2,
    better: 'less',
    compared: true,
    of: ({ small }) => small.cpu,
  },
  {
    what: 'alone, 1,452 bytes',
    unit: 'Gbit/s',
    digits: 2,
    better: 'more',
    compared: true,
    of: ({ large }) => large.gigabits,
  },
  {
    what: 'alone, 1,452 bytes, relay CPU',
    unit: 's/GByte',
    digits: 2,
    better: 'less',
    compared: true,
    of: ({ large }) => large.cpu,
  },
];

function figuresOf(who: 'warren' | 'tailscale', outcomes: readonly Outcome<Round>[]): Figure[] {
  return METRICS.map(({ what, unit, digits, better, of }) => {
    const value = (round: Round): number | null => (round[who] === null ? null : of(round[who]));
    return figure(`${who}: ${what}`, unit, outcomes, value, { digits, better });
  });
}

/** Ours ÷ theirs, within each round. */
function ratios(outcomes: readonly Outcome<Round>[]): Figure[] {
  if (!outcomes.some((outcome) => outcome.ok && outcome.round.tailscale !== null)) return [];
  return METRICS.filter(({ compared }) => compared).map(({ what, better, of }) => {
    const ratio = ({ warren, tailscale }: Round): number | null =>
      tailscale === null ? null : of(warren) / of(tailscale);
    return figure(`warren ÷ tailscale: ${what}`, '×', outcomes, ratio, { digits: 2, better });
  });
}
