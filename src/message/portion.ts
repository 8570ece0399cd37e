/** What of a message goes to a target, where that is not all of it. One of the two is there, or both are. */
export interface Portion {
  /** One attachment by its number. */
  readonly part?: number;
  /** Types of data that was found in it: sorted, each once. */
  readonly fields?: readonly string[];
}

/** Whether two portions are the same; null is the whole message. */
export function samePortion(a: Portion | null | undefined, b: Portion | null | undefined): boolean {
  if (!a || !b) return !a && !b;
  return (
    a.part === b.part &&
    a.fields?.length === b.fields?.length &&
    (a.fields ?? []).every((type, i) => type === b.fields?.[i])
  );
}

/** As it stands in the `waybill-portion` header and in texts: `part=2`, `fields=amount,order-number`. */
export function portionText({ part, fields }: Portion): string {
  const said = [part !== undefined && `part=${part}`, fields !== undefined && `fields=${fields.join(',')}`];
  return said.filter((one) => one !== false).join(';');
}
