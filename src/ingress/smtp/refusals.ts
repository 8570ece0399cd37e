/**
 * Everything this server refuses, once: the SMTP reply, its RFC 3463 status, and the sentence for people.
 * The keys are the stable codes of `GET /v1/refusals`.
 */
export const REFUSALS = {
  too_many_connections: [421, '4.3.2', 'Too many connections, try again later'],
  too_many_connections_of_peer: [421, '4.7.0', 'Too many connections from your address, try again later'],
  too_many_commands: [421, '4.7.0', 'Too many commands without a mail'],
  too_slow: [421, '4.4.2', 'No mail was completed in time'],
  closing: [421, '4.3.2', 'This server is closing down, try again later'],
  too_many_failed_logins: [421, '4.7.0', 'Too many failed logins, try again in a minute'],
  login_needs_tls: [538, '5.7.11', 'Log in after STARTTLS only'],
  login_failed: [535, '5.7.8', 'User name or password is wrong'],
  login_unavailable: [454, '4.7.0', 'Logins can not be checked just now, try again later'],
  messages_rate: [451, '4.7.1', 'Too many mails from your address, try again in a minute'],
  recipients_rate: [451, '4.7.1', 'Too many recipients from your address, try again in a minute'],
  sender_invalid: [553, '5.1.7', 'The sender address is not valid'],
  recipient_invalid: [553, '5.1.3', 'The recipient address is not valid'],
  recipient_unknown: [550, '5.1.1', 'Nobody receives mail at this address'],
  too_many_recipients: [452, '4.5.3', 'Too many recipients for one mail, send the rest in another'],
  too_large: [552, '5.3.4', 'The mail is larger than this server takes'],
  too_large_for_recipients: [552, '5.3.4', 'The mail is too large for so many recipients, send it to fewer at a time'],
  buffers_full: [452, '4.3.1', 'Too much mail is coming in just now, try again later'],
  busy: [452, '4.3.1', 'Too much mail waits to be stored just now, try again later'],
  unavailable: [451, '4.3.0', 'Mail can not be stored just now, try again later'],
  rejected: [554, '5.6.0', 'The mail can not be stored'],
} as const satisfies Record<string, readonly [code: number, status: string, why: string]>;

export type RefusalCode = keyof typeof REFUSALS;

/** A refusal on its way to the sender; smtp-server answers with `responseCode` and the message. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly responseCode: number;

  constructor(readonly code: RefusalCode) {
    const [smtp, status, why] = REFUSALS[code];
    super(`${status} ${why}`);
    this.responseCode = smtp;
  }
}
