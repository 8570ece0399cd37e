/*
 * Messages for trying out, which the shipped configuration takes. Each is a new one every time: `id` makes it so.
 */

/** A CloudEvent; its amount keeps its digits. */
export function sampleEvent(id: string, n: number, time: Date, type: string, subject: string | undefined): string {
  const amount = `${(n * 37) % 500}.${String((n * 7) % 100).padStart(2, '0')}`;
  return (
    `{"specversion":"1.0","id":"${id}-${n}","source":"/waybill/sample","type":${JSON.stringify(type)},` +
    `"subject":${JSON.stringify(subject ?? `customer-${n % 100}`)},"time":"${time.toISOString()}",` +
    `"datacontenttype":"application/json","data":{"amount":${amount},"currency":"EUR"}}`
  );
}

/** What a web shop would post. */
export function sampleHook(id: string): string {
  return JSON.stringify({
    id,
    type: 'order.placed',
    customer: 'customer-17',
    total: 49.9,
    items: [{ sku: 'A-100', quantity: 2 }],
  });
}

/** To an address that begins with `invoices`, an invoice with an attachment; to any other, a question. */
export function sampleMail(id: string, from: string, to: readonly string[], time: Date): string {
  const [recipient = ''] = to;
  const subject = recipient.startsWith('invoices') ? 'Invoice 2026-0042' : `A question to ${recipient}`;
  return [
    `From: Sample Sender <${from}>`,
    `To: ${to.join(', ')}`,
    `Subject: ${subject}`,
    `Date: ${time.toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <${id}@sample.example.net>`,
    'MIME-Version: 1.0',
    ...(recipient.startsWith('invoices') ? invoice(id) : QUESTION),
    '',
  ].join('\r\n');
}

const QUESTION = [
  'Content-Type: text/plain; charset=utf-8',
  'Content-Transfer-Encoding: 8bit',
  '',
  'Hello,',
  '',
  'when will order 2026-0042 arrive? 49.90 € were paid last week.',
];

function invoice(id: string): string[] {
  const boundary = `sample-${id}`;
  return [
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
    '',
    `--${boundary}`,
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    'Dear customer,',
    '',
    'please find attached the lines of invoice 2026-0042, 49.90 € in all.',
    '',
    `--${boundary}`,
    'Content-Type: text/csv; charset=us-ascii; name="invoice-2026-0042.csv"',
    'Content-Disposition: attachment; filename="invoice-2026-0042.csv"',
    '',
    'article,quantity,price',
    'A-100,2,24.95',
    '',
    `--${boundary}--`,
  ];
}
