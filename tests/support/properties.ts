import fc from 'fast-check';

const LIMIT_MS = 20_000;

/*
 * A property that fails says with what in the time that a test has, however far that could still be made smaller; and on a
 * machine that is very busy fewer cases are looked at, which is said. Long runs have the time they ask for.
 */
if (process.env.WAYBILL_LONG !== '1' && process.env.WAYBILL_RUNS === undefined)
  fc.configureGlobal({ interruptAfterTimeLimit: LIMIT_MS, reporter: failOrTell });

function failOrTell(details: fc.RunDetails<unknown>): void {
  const { failed, interrupted, numRuns, runConfiguration, seed } = details;
  if (failed) throw new Error(fc.defaultReportMessage(details), { cause: details.errorInstance });
  if (!interrupted) return;
  const limit = `${(runConfiguration.interruptAfterTimeLimit ?? LIMIT_MS) / 1_000} s`;
  console.warn(
    `property interrupted after ${limit}: ${numRuns} of ${runConfiguration.numRuns ?? 100} cases (seed ${seed})`,
  );
}
