// The wall clocks of the simulated machines: each is this, plus the time of the world, plus how far it has been stepped. One
// file, because machines and controller share it.

/** Milliseconds since the epoch at simulated instant 0; any plausible date will do. */
export const WALL_EPOCH_MS = 1_700_000_000_000;
