// Loaded before a program: its wall clock is so many milliseconds off as a file says. The monotonic clock is untouched.
const { readFileSync } = require('node:fs');

const LOOK_MS = 50;
const RealDate = Date;
let offset = 0;
let looked = Number.NEGATIVE_INFINITY;

function now() {
  if (performance.now() - looked >= LOOK_MS) {
    looked = performance.now();
    const said = readFileSync(process.env.WAYBILL_TEST_CLOCK, 'utf8');
    // Empty while it is being written.
    if (said !== '') offset = Number(said);
  }
  return RealDate.now() + offset;
}

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
  apply: () => new RealDate(now()).toString(),
  get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
});
