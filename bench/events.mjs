import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { TOKEN } from './stack.mjs';

/** Databases may be used again by later runs. */
const RUN = randomBytes(4).toString('hex');
let made = 0;

/** One CloudEvent of about 330 bytes, with a new id unless one is given. */
export function event(id = `evt-${RUN}-${made++}`) {
  const n = made;
  return JSON.stringify({
    specversion: '1.0',
    id,
    source: '/billing/meter',
    type: 'usage.recorded',
    subject: `account-${n % 5000}`,
    time: new Date().toISOString(),
    datacontenttype: 'application/json',
    data: {
      meter: 'api-calls',
      amount: n % 97,
      region: 'eu-west-1',
      customer: { name: `Some Customer ${n % 100}`, plan: 'gold' },
      note: 'a short remark',
    },
  });
}

/** NDJSON of so many new events. */
export function batch(count) {
  return lines(Array.from({ length: count }, () => event()));
}

/** NDJSON of these. */
export function lines(events) {
  return Buffer.from(events.join('\n'));
}

/** Sends a body and resolves to the answer's text; rejects unless it is 200 or 202. */
export function post(url, agent, body, type, method = 'POST') {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        method,
        agent,
        headers: { 'content-type': type, 'content-length': body.length, authorization: `Bearer ${TOKEN}` },
      },
      (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode === 200 || response.statusCode === 202) resolve(text);
          else reject(new Error(`${response.statusCode}: ${text.slice(0, 500)}`));
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
