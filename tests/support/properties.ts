import fc from 'fast-check';

/*
 * A property that fails says with what in the time that a test has, however far that could still be made smaller. One that
 * holds is tried as often as that time allows: a machine that does much else breaks none. Long runs have the time they ask for.
 */
if (process.env.WAYBILL_LONG !== '1' && process.env.WAYBILL_RUNS === undefined)
  fc.configureGlobal({ interruptAfterTimeLimit: 20_000, markInterruptAsFailure: false });
