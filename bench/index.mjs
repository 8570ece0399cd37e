import { parseArgs } from 'node:util';
import { machine } from './measure.mjs';

/** The rows, in the order of the table. A new one is a file and a line. */
const ROWS = {
  'batch-accept': () => import('./rows/batch-accept.mjs'),
  'end-to-end': () => import('./rows/end-to-end.mjs'),
  'single-events': () => import('./rows/single-events.mjs'),
  'smtp-accept': () => import('./rows/smtp-accept.mjs'),
  filter: () => import('./rows/filter.mjs'),
};

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    scale: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const names = values.only ?? Object.keys(ROWS);
const unknown = names.filter((name) => !(name in ROWS));
if (unknown.length > 0) {
  process.stderr.write(`no such row: ${unknown.join(', ')}; there are ${Object.keys(ROWS).join(', ')}\n`);
  process.exit(2);
}

const results = [];
for (const name of names) {
  process.stderr.write(`${name} …\n`);
  const { run } = await ROWS[name]();
  const result = await run({ scale: Number(values.scale) });
  results.push({ name, ...result, ratio: result.figure / result.limit });
}
process.stdout.write(values.json ? `${JSON.stringify({ machine: machine(), results }, null, 2)}\n` : table(results));
// Below its floor a row counts as broken, whatever the machine.
process.exit(results.some(({ ratio, floor }) => ratio < floor) ? 1 : 0);

function table(rows) {
  const { cpu, cores, memoryGiB, node } = machine();
  const lines = [
    `${cpu}, ${cores} cores, ${memoryGiB} GiB, Node ${node}; medians of 5 rounds in turn with their limits`,
    '',
    '| row | measured | limit, same run | ratio | goal | |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows.map(({ row, unit, figure, limit, limitIs, ratio, goal, least, also }) => {
      const short = ratio < goal || (least && figure < least) ? 'short' : 'held';
      const more = also
        ? ` ${Object.entries(also)
            .map(([key, value]) => `${key} ${value}`)
            .join(', ')}`
        : '';
      return `| ${row} | ${rounded(figure)} ${unit} | ${rounded(limit)} (${limitIs}) | ${ratio.toFixed(2)} | ${goal} | ${short};${more} |`;
    }),
  ];
  return `${lines.join('\n')}\n`;
}

function rounded(value) {
  return Number(value.toPrecision(3)).toLocaleString('en');
}
