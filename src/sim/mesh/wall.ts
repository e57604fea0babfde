// The wall clocks of the simulated machines.

/** Milliseconds since the epoch at simulated instant 0; any plausible date will do. */
export const WALL_EPOCH_MS = 1_700_000_000_000;
