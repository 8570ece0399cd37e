/** The byte that two hexadecimal digits at `at` stand for; -1 where there are none. */
export function hexAt(written: Buffer, at: number): number {
  const high = hexDigit(written[at]);
  const low = hexDigit(written[at + 1]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
