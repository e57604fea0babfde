// What a steady flow tells of a path: the longest time in which nothing came, what was lost, what came out of order. Arithmetic on
// what flow.c prints; times are milliseconds since the epoch, and no figure is finer than the interval of the flow.

/** Of one end, as flow.c prints it: sequence number and microseconds since the epoch. */
export interface FlowEnd {
  readonly sent: readonly (readonly [sequence: number, us: number])[];
  readonly arrived: readonly (readonly [sequence: number, us: number])[];
  /** The kernel refused them: no route, no room. They count as sent. */
  readonly unsent: number;
}

/** One direction: what one end sent, and what the other had of it. */
export interface Direction {
  readonly sent: FlowEnd['sent'];
  readonly arrived: FlowEnd['arrived'];
}

export interface Both {
  readonly there: Direction;
  readonly back: Direction;
}

export function directions(begins: FlowEnd, answers: FlowEnd): Both {
  return {
    there: { sent: begins.sent, arrived: answers.arrived },
    back: { sent: answers.sent, arrived: begins.arrived },
  };
}

export interface Gap {
  readonly ms: number;
  /** false: nothing came after it until the flow ended. */
  readonly over: boolean;
}

/** The longest time without an arrival that ends after `fromMs`. */
export function longestGap({ sent, arrived }: Direction, fromMs: number): Gap {
  const last = sent.at(-1);
  if (last === undefined) return { ms: 0, over: true };
  let previous = arrived[0]?.[1] ?? sent[0]?.[1] ?? 0;
  let longest: Gap = { ms: 0, over: arrived.length > 0 };
  for (const [, us] of arrived) {
    if (us / 1_000 >= fromMs && us - previous > longest.ms * 1_000)
      longest = { ms: (us - previous) / 1_000, over: true };
    previous = us;
  }
  const silent = (last[1] - previous) / 1_000;
  return silent > longest.ms ? { ms: silent, over: false } : longest;
}

/** How late the sender itself was at worst: what a gap may owe to a busy machine. */
export function senderLateMs({ sent }: Direction, intervalMs: number): number {
  let worst = 0;
  for (const [i, [, us]] of sent.entries()) {
    const before = sent[i - 1];
    if (before !== undefined) worst = Math.max(worst, (us - before[1]) / 1_000 - intervalMs);
  }
  return worst;
}

export interface Losses {
  /** Sent from the first that arrived on. */
  readonly sent: number;
  readonly lost: number;
  /** Overtaken by one that was sent later. */
  readonly reordered: number;
  readonly duplicated: number;
  /** When the first that was lost was sent; null: none was. */
  readonly firstLostMs: number | null;
}

export function losses({ sent, arrived }: Direction): Losses {
  const seen = new Set<number>();
  let [highest, reordered, duplicated] = [-1, 0, 0];
  for (const [sequence] of arrived) {
    if (seen.has(sequence)) duplicated++;
    else if (sequence < highest) reordered++;
    seen.add(sequence);
    highest = Math.max(highest, sequence);
  }
  const first = Math.min(...seen);
  const counted = sent.filter(([sequence]) => sequence >= first);
  const missing = counted.filter(([sequence]) => !seen.has(sequence));
  const [lost] = missing;
  return {
    sent: counted.length,
    lost: missing.length,
    reordered,
    duplicated,
    firstLostMs: lost === undefined ? null : lost[1] / 1_000,
  };
}

/** Of several, all together. */
export function sumOfLosses(all: readonly Losses[]): Losses {
  const sum = (field: 'sent' | 'lost' | 'reordered' | 'duplicated'): number =>
    all.reduce((total, one) => total + one[field], 0);
  const firsts = all.flatMap(({ firstLostMs }) => (firstLostMs === null ? [] : [firstLostMs]));
  return {
    sent: sum('sent'),
    lost: sum('lost'),
    reordered: sum('reordered'),
    duplicated: sum('duplicated'),
    firstLostMs: firsts.length === 0 ? null : Math.min(...firsts),
  };
}
