import fc from 'fast-check';

/*
 * A property that fails says with what in the time that a test has, however far that could still be made smaller; and on a
 * machine that is very busy fewer cases are looked at. Long runs have the time they ask for.
 */
if (process.env.WAYBILL_LONG !== '1' && process.env.WAYBILL_RUNS === undefined)
  fc.configureGlobal({ interruptAfterTimeLimit: 20_000 });
