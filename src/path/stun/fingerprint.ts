// FINGERPRINT (RFC 8489 §14.7): the CRC-32 of ITU V.42 over the message in front of the attribute, exclusive-or 0x5354554e. It
// tells STUN from what else comes to a port; it protects against nobody.

const POLYNOMIAL = 0xedb88320;
const XOR = 0x5354554e;

const TABLE = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? POLYNOMIAL : 0);
  return value;
});

/** Of the first `length` bytes of `message`, whose header counts the attribute in already. */
export function fingerprint(message: Uint8Array, length: number): number {
  let crc = 0xffff_ffff;
  for (let i = 0; i < length; i++) crc = (TABLE[(crc ^ (message[i] as number)) & 255] as number) ^ (crc >>> 8);
  return (crc ^ 0xffff_ffff ^ XOR) >>> 0;
}
