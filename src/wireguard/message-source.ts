// Where a control datagram or a frame came from, as the parts of the engine hand it on. Filled from the plane's descriptor;
// good until that is released.

/** `address`: 4 or 16 bytes, borrowed; `handle`: the plane's, for replies. */
export interface MessageSource {
  readonly address: Uint8Array;
  readonly port: number;
  readonly handle: number;
}
