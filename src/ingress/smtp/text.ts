// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
const UNCLEAN = /[\u0000-\u001f\u007f]+/g;

/** Text fit for an envelope: no control characters, well-formed Unicode, at most `maxBytes` of UTF-8 (cut between characters). */
export function clean(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text.replace(UNCLEAN, ' ').trim());
  if (bytes.length <= maxBytes) return bytes.toString();
  let end = maxBytes;
  while (isContinuation(bytes[end])) end--;
  return bytes.toString('utf8', 0, end).trimEnd();
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
