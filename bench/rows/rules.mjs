import { connect } from '../consumer.mjs';
import { post } from '../events.mjs';
import { atLeast, compared, inTurn, median, PAIRS, tenths } from '../measure.mjs';
import { startStack } from '../stack.mjs';
import { carry, consumerOf } from './end-to-end.mjs';

const FEW = 10;
const MANY = 1000;

/** A thousand rules of which the last matches, against ten, end to end on the same stack. */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: true, rules: null });
  const connection = await connect(stack.amqp);
  try {
    await use(stack, FEW);
    const consumer = await consumerOf(stack, connection);
    const requests = Math.ceil(30 * scale);
    const costs = { [FEW]: [], [MANY]: [] };
    const carryWith = async (count) => {
      await use(stack, count);
      const before = stack.cpuMs();
      const rate = await carry([stack], consumer, requests);
      costs[count].push((stack.cpuMs() - before) / requests);
      return rate;
    };
    const found = compared(
      await inTurn(
        PAIRS,
        () => carryWith(MANY),
        () => carryWith(FEW),
      ),
    );
    return {
      row: '1,000 rules, of which the last matches',
      unit: 'events/s',
      ...found,
      limitIs: '10 rules',
      goals: [atLeast('ratio', found.ratio, 0.9)],
      also: { nodeMicrosPerEvent: tenths(median(costs[MANY])), with10Rules: tenths(median(costs[FEW])) },
    };
  } finally {
    await connection.close();
    await stack.stop();
  }
}

async function use(stack, count) {
  const body = Buffer.from(JSON.stringify({ text: rules(count) }));
  await post(`${stack.http}/v1/rules`, undefined, body, 'application/json', 'PUT');
}

/** One of each kind in turn, as an installation with many customers has them; none but the last matches an event. */
const KINDS = [
  (n) => `{ type: [order.created.${n}] }`,
  (n) => `{ account: [customer-${n}] }`,
  (n) => `{ kind: [mail], from: [{ suffix: "@partner-${n}.example.com" }] }`,
  (n) => `{ data.customer.name: [{ prefix: "Company ${n} " }] }`,
  (n) => `{ data.amount: [{ numeric: [">", ${1000 + n}] }] }`,
  (n) => `{ type: [usage.recorded], data.meter: [meter-${n}] }`,
  (n) => `{ data.region: [{ wildcard: "*-zone${n}-*" }] }`,
  (n) => `{ kind: [mail], subject: [{ prefix: "Project ${n}:" }] }`,
];

function rules(count) {
  const others = Array.from({ length: count - 1 }, (_, n) => {
    return `  - { name: rule-${n}, when: ${KINDS[n % KINDS.length](n)}, then: { targets: [archive] } }`;
  });
  const last = '  - { name: usage, when: { kind: [event] }, then: { targets: [erp] } }';
  return ['mode: first-match', 'rules:', ...others, last, ''].join('\n');
}
