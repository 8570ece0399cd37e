import type { Statement } from '../src/billing/statement.js';

const COLUMNS = [
  'kind',
  'what',
  'dimensions',
  'from',
  'to',
  'period',
  'quantity',
  'unit',
  'events',
  'model',
  'amount',
  'currency',
];

/** The lines of a statement (RFC 4180), and its total. */
export function statementCsv({ lines, total, currency }: Statement): string {
  const rows = lines.map((line) => [
    line.kind,
    line.what,
    Object.entries(line.dimensions)
      .map(([name, value]) => `${name}=${value}`)
      .join('; '),
    line.from,
    line.to,
    line.period ?? '',
    line.quantity,
    line.unit ?? '',
    String(line.events),
    line.model ?? '',
    line.amount ?? '',
    line.amount === null ? '' : (currency ?? ''),
  ]);
  const sum = ['total', ...Array.from({ length: COLUMNS.length - 3 }, () => ''), total, currency ?? ''];
  return [COLUMNS, ...rows, sum].map((row) => `${row.map(field).join(',')}\r\n`).join('');
}

const DECIMAL = /^-?\d+(\.\d+)?$/;

/** A text that a spreadsheet would run as a formula gets an apostrophe in front. */
function field(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) && !DECIMAL.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
