import type { ScanLimits } from './scan.js';

/** How much of a mail is read. What goes beyond is not read at that rung, or is cut and said to be. */
export interface MailLimits extends ScanLimits {
  /** Received fields, each of which is a server it went through. */
  readonly hops: number;
  /** Bytes of UTF-8 of its text, and of its HTML. */
  readonly textBytes: number;
  /** Bytes of HTML that plain text is made of, where the mail has none. */
  readonly htmlToTextBytes: number;
  /** Bytes of pictures shown within its HTML. */
  readonly pictureBytes: number;
}

export const MAIL_LIMITS: MailLimits = {
  headerBytes: 256 * 1024,
  headerLines: 1_000,
  parts: 1_000,
  hops: 100,
  depth: 64,
  textBytes: 1024 * 1024,
  htmlToTextBytes: 256 * 1024,
  pictureBytes: 4 * 1024 * 1024,
};
