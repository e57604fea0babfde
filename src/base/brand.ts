// Nominal types over primitives: a PeerSlot is a number that cannot be passed where an Instant is wanted.
// The brand exists for the compiler alone and costs nothing at run time.

declare const brand: unique symbol;

/** `T` that the compiler keeps apart from every other `T`. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };
