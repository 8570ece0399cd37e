/** `<channel>-<sequence>` within a tenant, for example `7-10234`. */
export type MessageId = `${number}-${number}`;

/** A sequenced message's place: its channel and its number there. */
export interface Place {
  readonly channel: number;
  readonly sequence: number;
}

export function messageId(place: Place): MessageId {
  return `${place.channel}-${place.sequence}`;
}

/** Reads `7-10234`; undefined for anything else, for numbers beyond 2^53 and for leading zeros. */
export function parseMessageId(text: string): Place | undefined {
  const match = /^(0|[1-9]\d{0,3})-([1-9]\d{0,15})$/.exec(text);
  if (!match) return undefined;
  const channel = Number(match[1]);
  const sequence = Number(match[2]);
  return Number.isSafeInteger(sequence) ? { channel, sequence } : undefined;
}

/** `q-<n>`: an entry of the quarantine that was never sequenced. */
export type QuarantineId = `q-${number}`;

export function quarantineId(n: number): QuarantineId {
  return `q-${n}`;
}

/** `<epoch>.<target>.<channel>-<number>`: one delivery, named the same in the API and to its consumer. */
export interface DeliveryKey {
  readonly epoch: number;
  readonly target: string;
  readonly channel: number;
  readonly number: number;
}

export function deliveryId(key: DeliveryKey): string {
  return `${key.epoch}.${key.target}.${key.channel}-${key.number}`;
}

export function parseDeliveryId(text: string): DeliveryKey | undefined {
  const match = /^(\d{1,15})\.([a-z0-9][a-z0-9-]{0,62})\.(0|[1-9]\d{0,3})-([1-9]\d{0,15})$/.exec(text);
  if (!match?.[2]) return undefined;
  return { epoch: Number(match[1]), target: match[2], channel: Number(match[3]), number: Number(match[4]) };
}
