import { parseArgs } from 'node:util';
import { bystanders, machine } from './measure.mjs';
import { forgetPrepared } from './prepared.mjs';

/** The rows, in the order of the table. A new one is a file and a line. */
const ROWS = {
  'batch-accept': () => import('./rows/batch-accept.mjs'),
  'end-to-end': () => import('./rows/end-to-end.mjs'),
  waiting: () => import('./rows/waiting.mjs'),
  'single-events': () => import('./rows/single-events.mjs'),
  'smtp-accept': () => import('./rows/smtp-accept.mjs'),
  mail: () => import('./rows/mail.mjs'),
  filter: () => import('./rows/filter.mjs'),
  duplicates: () => import('./rows/duplicates.mjs'),
  growth: () => import('./rows/growth.mjs'),
  restart: () => import('./rows/restart.mjs'),
  rules: () => import('./rows/rules.mjs'),
  backtest: () => import('./rows/backtest.mjs'),
  memory: () => import('./rows/memory.mjs'),
  billing: () => import('./rows/billing.mjs'),
  ledger: () => import('./rows/ledger.mjs'),
  'two-processes': () => import('./rows/two-processes.mjs'),
  costs: () => import('./rows/costs.mjs'),
  'node-red': () => import('./rows/node-red.mjs'),
  haraka: () => import('./rows/haraka.mjs'),
};

const USAGE = `npm run bench -- [options]
  --only ROW     only this row; may be given several times: ${Object.keys(ROWS).join(', ')}
  --scale N      so many times the usual work, 0.1 for a quick look (default 1)
  --minutes N    how long the memory row runs (default 1; the goal is for 10)
  --cache DIR    keeps the filled databases there for the next run; without it they are made anew and removed
  --json         everything as JSON, each round's figures too
`;

const options = readOptions();
if (options === null) {
  process.stderr.write(USAGE);
  process.exit(2);
}

const results = [];
for (const name of options.names) {
  process.stderr.write(`${name} …\n`);
  const watched = bystanders();
  const { run } = await ROWS[name]();
  const measured = [await run(options)].flat();
  const machineMeanwhile = watched();
  process.stderr.write(`  others used ${machineMeanwhile.othersPercent} % of the processors\n`);
  for (const result of measured) results.push({ name, ...result, machineMeanwhile });
}
forgetPrepared();
process.stdout.write(options.json ? `${JSON.stringify({ machine: machine(), results }, null, 2)}\n` : table());
// What misses its goal by more than a fifth counts as broken, whatever the machine.
process.exit(results.some(({ goals = [] }) => goals.some(({ broken }) => broken)) ? 1 : 0);

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', multiple: true },
        scale: { type: 'string', default: '1' },
        minutes: { type: 'string', default: '1' },
        cache: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    const names = values.only ?? Object.keys(ROWS);
    const [scale, minutes] = [Number(values.scale), Number(values.minutes)];
    if (values.help || !(scale > 0) || !(minutes > 0) || !names.every((name) => name in ROWS)) return null;
    return { names, scale, minutes, cache: values.cache, json: values.json };
  } catch {
    return null;
  }
}

function table() {
  const { cpu, cores, memoryGiB, node } = machine();
  const rows = results.map((result) => {
    const { row, unit, figure, limit, limitIs, ratio, ratioRange, goals = [], also = {} } = result;
    const against = limit === undefined ? '' : `${rounded(limit)} (${limitIs})`;
    const range = ratioRange ? ` (${ratioRange.map((each) => each.toFixed(2)).join('–')})` : '';
    const cells = [
      row,
      `${rounded(figure)} ${unit}`,
      against,
      ratio === undefined ? '' : `${ratio.toFixed(2)}${range}`,
      goals.map(goalText).join('; '),
      Object.entries(also)
        .map(([key, value]) => `${key} ${value}`)
        .join(', '),
    ];
    return `| ${cells.join(' | ')} |`;
  });
  const busiest = Math.max(...results.map(({ machineMeanwhile }) => machineMeanwhile.othersPercent));
  const lines = [
    `${cpu}, ${cores} cores, ${memoryGiB} GiB, Node ${node}. Medians of rounds in turn with their limits; ratios are`,
    `medians of the pairs, with their range. Others used at most ${busiest} % of the processors.`,
    '',
    '| row | measured | limit, same run | ratio | goals | |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
  ];
  return `${lines.join('\n')}\n`;
}

function goalText({ what, is, goal, held, broken }) {
  return `${what} ${rounded(is)} of ${rounded(goal)}: ${held ? 'held' : broken ? 'missed by far' : 'missed'}`;
}

function rounded(value) {
  return Number(value.toPrecision(3)).toLocaleString('en');
}
