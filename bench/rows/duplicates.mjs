import { Agent } from 'node:http';
import { event, lines, post } from '../events.mjs';
import { abreast, atLeast, compared, inTurn, median, PAIRS, perSecond, tenths } from '../measure.mjs';
import { startStack } from '../stack.mjs';

const PER_REQUEST = 1000;
const ABREAST = 8;
/** Of a request's duplicates, those whose original stands in the same request. */
const SAME_REQUEST = 100;

/** Half of all events have been sent before, a fifth of them in the same request; against the same with new ones only. */
export async function run({ scale }) {
  const stack = await startStack({ rabbitmq: false, roles: 'ingress,web' });
  try {
    const requests = Math.ceil(100 * scale);
    const known = [];
    const costs = [];
    await accept(stack, requests, () => fresh(PER_REQUEST), known);
    const figures = await inTurn(
      PAIRS,
      async () => {
        const before = stack.cpuMs();
        const { rate, duplicates } = await accept(stack, requests, () => halfKnown(known), []);
        costs.push((stack.cpuMs() - before) / requests);
        const expected = requests * (PER_REQUEST / 2);
        if (duplicates !== expected) throw new Error(`${duplicates} duplicates were found of ${expected}`);
        return rate;
      },
      async () => (await accept(stack, requests, () => fresh(PER_REQUEST), known)).rate,
    );
    const found = compared(figures);
    return {
      row: 'half of all events are duplicates',
      unit: 'events/s',
      ...found,
      limitIs: 'the same without duplicates',
      goals: [atLeast('ratio', found.ratio, 0.9)],
      also: { nodeMicrosPerEvent: tenths(median(costs)) },
    };
  } finally {
    await stack.stop();
  }
}

function fresh(count) {
  return Array.from({ length: count }, () => event());
}

function halfKnown(known) {
  const events = fresh(PER_REQUEST / 2);
  const again = events.slice(0, SAME_REQUEST);
  // Distinct: a step that divides no list's length goes round all of it.
  const begin = Math.floor(Math.random() * known.length);
  for (let i = 0; again.length < PER_REQUEST / 2; i++) again.push(known[(begin + i * 7919) % known.length]);
  return events.flatMap((each, i) => [each, again[i]]);
}

/** Sends requests made before the clock starts, and adds their events to `known`. */
async function accept(stack, requests, make, known) {
  const agent = new Agent({ keepAlive: true, maxSockets: ABREAST });
  const sent = Array.from({ length: requests }, make);
  const bodies = sent.map(lines);
  let duplicates = 0;
  const begun = performance.now();
  await abreast(
    ABREAST,
    bodies.map((body) => async () => {
      const answer = await post(`${stack.http}/v1/events`, agent, body, 'application/x-ndjson');
      duplicates += answer.split('"verdict":"duplicate"').length - 1;
    }),
  );
  const took = performance.now() - begun;
  agent.destroy();
  for (const events of sent) for (const each of events) known.push(each);
  return { rate: perSecond(requests * PER_REQUEST, took), duplicates };
}
