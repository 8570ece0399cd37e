import { type Anatomy, bytesOf, rolesOf } from './anatomy.js';
import { textIn } from './charset.js';
import { cleanText, cutText } from './clean.js';
import type { DefectList } from './defects.js';
import type { MailLimits } from './limits.js';
import type { Leaf } from './scan.js';

/** No transfer encoding makes four bytes of less than one. */
const LONGEST_ENCODING = 4;

/** The first plain text of a mail, or else its first HTML as it is written, by our own code alone. Linear. */
export function firstText(
  anatomy: Anatomy,
  limits: MailLimits,
  defects: DefectList,
): { readonly text: string | null; readonly used: Leaf | null } {
  const roles = rolesOf(anatomy).filter(({ leaf }) => leaf.end > leaf.start);
  const found = roles.find(({ role }) => role === 'text') ?? roles.find(({ role }) => role === 'html');
  if (found === undefined) return { text: null, used: null };
  const { leaf } = found;
  const end = Math.min(leaf.end, leaf.start + LONGEST_ENCODING * limits.textBytes);
  if (end < leaf.end) defects.add('too_large', leaf.path, 'only its beginning was read');
  const shown = { ...leaf, end };
  const broken = anatomy.broken.has(leaf) ? new Set([shown]) : anatomy.broken;
  const bytes = bytesOf({ ...anatomy, broken }, shown);
  const decoded = textIn(bytes, leaf.charset);
  const { text, cut } = cutText(decoded.replaceAll('\r\n', '\n'), limits.textBytes);
  if (cut) defects.add('too_large', 'text');
  return { text: text.trim() === '' ? null : cleanText(text), used: leaf };
}
