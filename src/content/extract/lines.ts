/** How much of a text is looked at: lines, and characters of one. */
const MOST_LINES = 2_000;
const MOST_IN_LINE = 1_100;
/** The longest that stands before the colon. */
const MOST_IN_LABEL = 60;

/** Labels that say what stands after them, in the languages most orders come in. More are the source's own. */
export const USUAL_LABELS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    phone: [
      'phone',
      'phone number',
      'telephone',
      'tel',
      'mobile',
      'telefon',
      'telefonnummer',
      'mobil',
      'handy',
      'rückruf',
    ],
    email: ['email', 'e-mail', 'email address', 'e-mail address', 'mail', 'e-mail-adresse'],
    address: ['address', 'delivery address', 'shipping address', 'billing address', 'adresse', 'anschrift'],
    amount: ['amount', 'total', 'grand total', 'sum', 'price', 'betrag', 'gesamtbetrag', 'summe', 'gesamt', 'preis'],
    date: ['date', 'order date', 'delivery date', 'due date', 'datum', 'bestelldatum', 'lieferdatum'],
    'order-number': [
      'order',
      'order number',
      'order no',
      'order id',
      'order nr',
      'bestellung',
      'bestellnummer',
      'auftragsnummer',
    ],
    name: ['name', 'customer', 'customer name', 'full name', 'contact', 'kunde', 'ansprechpartner'],
  }).flatMap(([type, labels]) => labels.map((label) => [label, type] as const)),
);

/** What a label is compared by: `* **Order No.:**` is `order no`. */
export function labelKey(label: string): string {
  return label
    .toLowerCase()
    .replace(/[\s*_#|•]+/g, ' ')
    .replace(/[.°]/g, '')
    .trim()
    .replace(/^[-–] /, '');
}

export interface Line {
  /** From 1. */
  readonly number: number;
  /** As `labelKey` gives it. */
  readonly label: string;
  readonly value: string;
}

/** The lines of a text that say `label: value`, in order. What others wrote before, quoted with `>`, is left out. */
export function* labelledLines(text: string): Generator<Line> {
  let from = 0;
  for (let number = 1; number <= MOST_LINES && from < text.length; number++) {
    const end = text.indexOf('\n', from);
    const next = end === -1 ? text.length : end;
    // Longer ones are no lines of a list. They are passed over without a copy.
    if (next - from <= MOST_IN_LINE) {
      const line = lineOf(number, text.slice(from, next));
      if (line) yield line;
    }
    from = next + 1;
  }
}

function lineOf(number: number, line: string): Line | null {
  const colon = line.indexOf(':');
  if (colon < 1 || colon > MOST_IN_LABEL || line.trimStart().startsWith('>')) return null;
  const value = withoutFrame(line.slice(colon + 1));
  return value === '' ? null : { number, label: labelKey(line.slice(0, colon)), value };
}

/** Without the blanks and the marks of tables and emphasis around it. */
function withoutFrame(text: string): string {
  let [from, to] = [0, text.length];
  while (from < to && isFrame(text.charCodeAt(from))) from++;
  while (to > from && isFrame(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

const FRAME: ReadonlySet<number> = new Set([...' \t\r\u00a0*_|'].map((one) => one.charCodeAt(0)));

function isFrame(code: number): boolean {
  return FRAME.has(code);
}
